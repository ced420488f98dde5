"""The existing backend: a cluster that somebody else keeps, and only in the context that a person has named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster.images import archived_image
from cluster.interface import Capability, ClusterError
from cluster.kubectl import Kubectl


class ExistingCluster:
    """Never the current context by default: tests create and delete things, and that may be production."""

    capabilities = frozenset({Capability.REAL_KUBELET})

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        if kubeconfig is None or context is None:
            raise ClusterError("an existing cluster needs both --kubeconfig FILE and --context NAME, said by you")
        if not kubeconfig.is_file():
            raise ClusterError(f"there is no kubeconfig {kubeconfig}")
        self.name = context
        self.kubeconfig = kubeconfig
        self._kubectl = Kubectl(kubeconfig, context)

    def up(self) -> None:
        known = self._kubectl("config", "get-contexts", "--output=name").split()
        if self.name not in known:
            raise ClusterError(f"{self.kubeconfig} has no context {self.name!r}; it has {', '.join(known) or 'none'}")
        self._kubectl("get", "--raw=/readyz")

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        return self._kubectl(*args, input=input, check=check)

    def has_image(self, reference: str, digest: str | None = None) -> bool:
        nodes = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        return all(
            any(
                reference in image["names"] and (digest is None or any(digest in name for name in image["names"]))
                for image in node["status"].get("images", [])
            )
            for node in nodes
        )

    def load_image(self, oci_archive: Path) -> bool:
        image = archived_image(oci_archive)
        if self.has_image(image.reference):
            return False
        raise ClusterError(
            f"{image.reference} is not on the nodes of {self.name}: push {oci_archive} to a registry they can pull from"
        )

    def port_forward(self, target: str, port: int, *, namespace: str = "default") -> AbstractContextManager[int]:
        return self._kubectl.port_forward(target, port, namespace=namespace)

    def audit_events(self, since: datetime) -> Iterator[dict[str, Any]]:
        raise ClusterError("an existing cluster's audit log is not ours to read")

    def set_gpus(self, count: int) -> None:
        raise ClusterError("an existing cluster's nodes are not ours to change")

    def delete(self) -> None:
        """Nothing: somebody else keeps it."""
