"""Which cluster a caller gets."""

from __future__ import annotations

from pathlib import Path

from cluster import preflight
from cluster.existing import ExistingCluster
from cluster.host import HostCluster
from cluster.interface import Cluster, ClusterError
from cluster.kind import KindCluster

BACKENDS = ("auto", "host", "kind", "existing")


def connect(backend: str = "auto", *, kubeconfig: Path | None = None, context: str | None = None) -> Cluster:
    """The cluster of this backend; nothing is started yet. ClusterError if this machine cannot have one."""
    chosen, _ = choose(backend, kubeconfig, context)
    if chosen == "existing":
        return ExistingCluster(kubeconfig, context)
    return KindCluster() if chosen == "kind" else HostCluster()


def choose(backend: str, kubeconfig: Path | None, context: str | None) -> tuple[str, str]:
    """The backend's name, and why it is this one."""
    if backend not in BACKENDS:
        raise ClusterError(f"no backend is called {backend!r}; there are {', '.join(BACKENDS)}")
    if backend != "auto":
        return backend, "it was asked for"
    if kubeconfig or context:
        return "existing", "a kubeconfig or a context was given"
    if preflight.docker_answers():
        return "kind", "a Docker engine answers"
    return "host", "no Docker engine answers"
