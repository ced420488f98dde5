"""The kind backend, through pytest-kind, where a Docker engine answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster import layout, preflight
from cluster.command import run
from cluster.images import archived_image
from cluster.interface import Capability, ClusterError
from cluster.kubectl import Kubectl
from cluster.progress import step

_KIND_VERSION = "v0.30.0"  # Kubernetes 1.34
_NODE = f"{layout.NAME}-control-plane"


class KindCluster:
    """pytest-kind fetches kind (unless one is on the PATH), and creates and deletes the cluster; kubectl is our build.

    Its own `kubectl` and `port_forward` are left alone: the one needs a second download, the other opens its port ten
    times over and picks a number that another process may take meanwhile.
    """

    name = layout.NAME
    capabilities = frozenset({Capability.REAL_KUBELET, Capability.VOLUMES, Capability.FAKE_GPU})

    def __init__(self) -> None:
        # Read when the module is loaded; its own default is a kind whose Kubernetes is years old.
        os.environ.setdefault("KIND_VERSION", _KIND_VERSION)
        try:
            from pytest_kind.cluster import KindCluster as PytestKind
        except ImportError as missing:
            raise ClusterError("the kind backend needs pytest-kind: pip install pytest-kind") from missing
        self.kubeconfig = layout.cache() / "kind" / "kubeconfig"
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        kind = Path(shutil.which("kind") or self.kubeconfig.with_name(f"kind-{_KIND_VERSION}"))
        with contextlib.chdir(self.kubeconfig.parent):  # it makes a folder wherever it is loaded
            self._kind = PytestKind(self.name, self.kubeconfig, kind_path=kind)
        self._kubectl = Kubectl(self.kubeconfig)

    def up(self) -> None:
        preflight.require(preflight.kind_findings())
        with step("creating the kind cluster"), _plain_errors():
            self._kind.ensure_kind()
            if self.name in run([self._kind.kind_path, "get", "clusters"]).split():
                # pytest-kind reuses a cluster but not its kubeconfig, which may be gone.
                run([self._kind.kind_path, "export", "kubeconfig", "--name", self.name, "--kubeconfig", self.kubeconfig])
            self._kind.create()

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        return self._kubectl(*args, input=input, check=check)

    def has_image(self, reference: str, digest: str | None = None) -> bool:
        rows = run(["docker", "exec", _NODE, "ctr", "--namespace=k8s.io", "images", "ls"]).splitlines()[1:]
        present = {row.split()[0]: row.split()[2] for row in rows if len(row.split()) > 2}
        return reference in present and digest in (None, present[reference])

    def load_image(self, oci_archive: Path) -> bool:
        image = archived_image(oci_archive)
        if self.has_image(image.reference, image.digest):
            return False
        with step(f"loading {image.reference}"), _plain_errors():
            self._kind.ensure_kind()
            run([self._kind.kind_path, "load", "image-archive", f"--name={self.name}", oci_archive])
        return True

    def port_forward(self, target: str, port: int, *, namespace: str = "default") -> AbstractContextManager[int]:
        return self._kubectl.port_forward(target, port, namespace=namespace)

    def audit_events(self, since: datetime) -> Iterator[dict[str, Any]]:
        raise ClusterError("the kind backend keeps no audit log")

    def set_gpus(self, count: int) -> None:
        claimed = {"nvidia.com/gpu": str(count) if count else None}
        change = json.dumps({"status": {"capacity": claimed, "allocatable": claimed}})
        self.kubectl("patch", "node", _NODE, "--subresource=status", "--type=merge", f"--patch={change}")

    def delete(self) -> None:
        preflight.require(preflight.kind_findings())
        with step("deleting the kind cluster"), _plain_errors():
            self._kind.ensure_kind()
            self._kind.delete()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (subprocess.CalledProcessError, OSError) as error:  # failed downloads are OSErrors too
        raise ClusterError(f"kind: {error}") from error
