"""The operator on a cluster, installed from its chart: by the demo, and by tests that want what users have."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import Cluster, ClusterError
from cluster.binaries import program
from images import Image

CHART = Path(__file__).resolve().parents[2] / "charts" / "embedding-operator"
RELEASE = "embedding-operator"
OPERATOR_PODS = "app.kubernetes.io/component=operator"

_UNFINISHED = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
OF_THE_DEMO = {"embedding-operator.io/made-by": "demo"}
"""What the demo leaves standing: tests on the same node take it away, it would share two processors with them."""


def namespace(cluster: Cluster, name: str, labels: Mapping[str, str] | None = None) -> None:
    """Make sure of a namespace that admits restricted pods alone."""
    metadata = {"name": name, "labels": {**_RESTRICTED, **(labels or {})}}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.kubectl("apply", "--server-side", "--filename=-", input=json.dumps(manifest))


def install(
    cluster: Cluster,
    images: Mapping[str, Image],
    *,
    operator_namespace: str,
    watch_namespaces: Sequence[str] = (),
    release: str = RELEASE,
    values: Mapping[str, Any] | None = None,
) -> None:
    """`helm upgrade --install`, over whatever a killed run left. The namespaces exist. Raises ClusterError."""
    chosen = {
        "images": {"operator": images["operator"].reference, "serving": images["serving"].reference},
        "watchNamespaces": list(watch_namespaces),
        **(values or {}),
    }
    _forget_unfinished(cluster, operator_namespace, release)
    with _kubeconfig(cluster) as kubeconfig, tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(chosen, file)
        file.flush()
        _helm(
            kubeconfig,
            operator_namespace,
            "upgrade",
            "--install",
            "--take-ownership",
            release,
            str(CHART),
            f"--values={file.name}",
        )


def uninstall(cluster: Cluster, *, operator_namespace: str, release: str = RELEASE) -> None:
    """`helm uninstall`; the CRDs stay. A release that is not there is no error. Raises ClusterError."""
    with _kubeconfig(cluster) as kubeconfig:
        _helm(kubeconfig, operator_namespace, "uninstall", "--ignore-not-found", "--wait", release)


@contextmanager
def sole_use(cluster: Cluster) -> Iterator[None]:
    """While open, the operators of this cluster are the caller's alone to install and remove; ends with the process.

    Raises ClusterError at once where another process has it: a test run and a demo would take each other's away.
    """
    lock = os.open(Path(tempfile.gettempdir()) / f"eo-operators-{cluster.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(lock, cluster.name)
        yield
    finally:
        os.close(lock)


def _take(lock: int, cluster: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ClusterError(f"tests or a demo use the operator of cluster {cluster}: wait for their end") from None


@dataclass(frozen=True)
class Installed:
    """An operator on the cluster, by its release and where that lies."""

    release: str
    operator_namespace: str


def others_acting_in(cluster: Cluster, watched: str, *, operator_namespace: str) -> list[Installed]:
    """Operators outside of `operator_namespace` that act in namespace `watched`. Two of them would undo each other's work."""
    selector = f"--selector={OPERATOR_PODS},app.kubernetes.io/part-of=embedding-operator"
    listed = json.loads(cluster.kubectl("get", "deployments", "--all-namespaces", selector, "--output=json"))
    found = []
    for live in listed["items"]:
        meta, (container, *_) = live["metadata"], live["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        namespaces = [name for name in environment.get("EO_OPERATOR_WATCH_NAMESPACES", "").split(",") if name]
        if meta["namespace"] != operator_namespace and (not namespaces or watched in namespaces):
            found.append(Installed(meta["labels"]["app.kubernetes.io/instance"], meta["namespace"]))
    return found


def _forget_unfinished(cluster: Cluster, operator_namespace: str, release: str) -> None:
    """helm refuses a release whose last operation never ended; without that record it takes the objects over."""
    selector = f"--selector=owner=helm,name={release},status in ({','.join(_UNFINISHED)})"
    cluster.kubectl("delete", "secrets", f"--namespace={operator_namespace}", selector)


@contextmanager
def _kubeconfig(cluster: Cluster) -> Iterator[str]:
    """A file with the cluster's own context and no other: helm would take whichever is current."""
    with tempfile.NamedTemporaryFile("w", prefix="eo-kubeconfig-") as file:
        file.write(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten"))
        file.flush()
        yield file.name


def _helm(kubeconfig: str, operator_namespace: str, *words: str) -> None:
    argv = [str(program("helm")), f"--kubeconfig={kubeconfig}", f"--namespace={operator_namespace}", *words]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("Error:")] or done.stderr.splitlines()[-1:]
        raise ClusterError(f"helm {words[0]} of {words[-2] if words[0] == 'upgrade' else words[-1]} failed: {' '.join(said)}")
