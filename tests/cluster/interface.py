"""What a test may ask of a cluster, whichever backend answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class ClusterError(Exception):
    """Something a person has to mend. The message is one line and says what to do next."""


class Capability(StrEnum):
    """What a test can need beyond an API server; a test that needs more than the backend has skips itself."""

    REAL_KUBELET = "real-kubelet"  # pods run as processes
    METRICS = "metrics"  # metrics.k8s.io answers
    VOLUMES = "volumes"  # the default StorageClass gives volumes that a later pod can read again
    AUDIT_LOG = "audit-log"  # audit_events() works
    FAKE_GPU = "fake-gpu"  # set_gpus() works
    POD_NETWORK = "pod-network"  # pod and service addresses answer from the test's own process
    KILL_PROCESSES = "kill-processes"  # processes of pods and of the control plane can be killed from the test
    NETWORK_POLICY = "network-policy"  # NetworkPolicies are enforced


class Cluster(Protocol):
    """One cluster. Errors are `ClusterError`."""

    @property
    def name(self) -> str: ...

    @property
    def kubeconfig(self) -> Path:
        """A file whose current context is this cluster."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def up(self) -> None:
        """Make it whole: create what is missing, start what is dead, leave alone what works."""
        ...

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """What kubectl writes to standard output; with `check`, its failure is a ClusterError with what it said."""
        ...

    def has_image(self, reference: str, digest: str | None = None) -> bool:
        """Whether the node has this image, and of this manifest digest (`sha256:…`) if one is given."""
        ...

    def load_image(self, oci_archive: Path) -> bool:
        """Put an image from an OCI archive on the node. False: it was there already and nothing was done."""
        ...

    def port_forward(self, target: str, port: int, *, namespace: str = "default") -> AbstractContextManager[int]:
        """While open, `127.0.0.1:<yielded port>` reaches `port` of `target` (`pod/x`, `service/x`, …)."""
        ...

    def audit_events(self, since: datetime) -> Iterator[dict[str, Any]]:
        """Events of audit.k8s.io/v1 received by the API server at or after `since` (aware), oldest first."""
        ...

    def set_gpus(self, count: int) -> None:
        """Let the node claim `count` GPUs (`nvidia.com/gpu`); nothing computes on them. 0 takes them away."""
        ...

    def delete(self) -> None:
        """Remove it with everything it left behind."""
        ...
