"""The host backend: a real node and control plane as processes of this machine, without Docker."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import (
    addons,
    audit,
    binaries,
    containerd,
    layout,
    network,
    packages,
    parts,
    pki,
    preflight,
    process,
    teardown,
    volumes,
)
from cluster.images import archive_program, archived_image
from cluster.interface import Capability, ClusterError
from cluster.kubeapi import KubeApi
from cluster.kubectl import Kubectl
from cluster.progress import Step, step
from cluster.supervise import ensure, replace_file

_READY_SECONDS = 90.0
_POLL_SECONDS = 0.1


class HostCluster:
    """One per machine. `up` and `delete` exclude each other, also between processes."""

    name = layout.NAME
    kubeconfig = layout.KUBECONFIG
    capabilities = frozenset(Capability) - {Capability.NETWORK_POLICY}  # the bridge plugin enforces none

    def __init__(self) -> None:
        self._kubectl = Kubectl(self.kubeconfig)

    def up(self) -> None:
        with _alone():
            preflight.require(preflight.host_findings())
            packages.ensure()
            for tool in (binaries.KUBERNETES, binaries.METRICS_SERVER, binaries.PAUSE):
                binaries.build(tool)
            with step("bringing the cluster up") as progress:
                self._bring_up(progress)

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        return self._kubectl(*args, input=input, check=check)

    def has_image(self, reference: str, digest: str | None = None) -> bool:
        present = containerd.images().get(reference)
        return present is not None and digest in (None, present)

    def load_image(self, oci_archive: Path) -> bool:
        image = archived_image(oci_archive)
        if self.has_image(image.reference, image.digest):
            return False
        with step(f"importing {image.reference}"):
            containerd.import_archive(oci_archive)
        if not self.has_image(image.reference, image.digest):
            raise ClusterError(f"{oci_archive} was imported, but {image.reference} is not on the node under that name")
        return True

    def port_forward(self, target: str, port: int, *, namespace: str = "default") -> AbstractContextManager[int]:
        return self._kubectl.port_forward(target, port, namespace=namespace)

    def audit_events(self, since: datetime) -> Iterator[dict[str, Any]]:
        return audit.events(layout.AUDIT_LOG, since)

    def set_gpus(self, count: int) -> None:
        _claim_gpus(count)
        layout.GPU_COUNT.write_text(f"{count}\n")  # a restarted kubelet forgets it, the next `up` does not

    def delete(self) -> None:
        with _alone(), step("taking the cluster down"):
            teardown.remove()

    def _bring_up(self, progress: Step) -> None:
        teardown.finish_removal()
        if pki.out_of_date():
            progress.note("replacing a cluster that another version of this code made")
            teardown.remove()
        _link_programs()
        pki.ensure()
        replace_file(self.kubeconfig, (layout.PKI / "admin.kubeconfig").read_bytes())
        volumes.ensure_folders()
        if network.ensure_bridge():
            process.kill(process.in_pods())  # their links hung on the bridge that is gone; the kubelet makes new ones
        progress.note("etcd, containerd, API server")
        containerd.refuse_foreign()
        ensure([parts.etcd(), parts.container_runtime()])
        self._ensure_pause_image()
        ensure([parts.apiserver()])
        progress.note("add-ons")
        self._apply_addons()
        progress.note("node")
        since = datetime.now(UTC).replace(microsecond=0)
        started = ensure(parts.clients_of_the_api())
        _wait("the node is not Ready", lambda: _node_ready(since if "kubelet" in started else None))
        if "kubelet" in started and layout.GPU_COUNT.is_file():
            _claim_gpus(int(layout.GPU_COUNT.read_text()))
        progress.note("metrics")
        _wait("the metrics API is not available", _metrics_available)

    def _ensure_pause_image(self) -> None:
        if not self.has_image(layout.PAUSE_IMAGE):
            archive = layout.STATE / "pause.tar"
            archive_program(binaries.program("pause"), layout.PAUSE_IMAGE, archive)
            self.load_image(archive)

    def _apply_addons(self) -> None:
        wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": addons.manifests()})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=wanted)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    if os.geteuid() != 0:
        raise ClusterError("the host backend needs root: run it with sudo")
    with layout.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another run of this command"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} after {_READY_SECONDS:.0f} s; the logs are in {layout.LOGS}")
        time.sleep(_POLL_SECONDS)


def _node_ready(since: datetime | None) -> bool:
    """With `since`, only the word of a kubelet that spoke after it counts: after a kill the last one lingers."""
    ready = _condition(f"/api/v1/nodes/{layout.NODE_NAME}", "Ready")
    if ready.get("status") != "True":
        return False
    return since is None or datetime.fromisoformat(ready["lastHeartbeatTime"]) >= since


def _metrics_available() -> bool:
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
    return bool(_condition(path, "Available").get("status") == "True")


def _condition(path: str, kind: str) -> dict[str, Any]:
    try:
        conditions = KubeApi().get(path).get("status", {}).get("conditions", [])
    except (OSError, http.client.HTTPException):
        return {}
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _claim_gpus(count: int) -> None:
    claimed = {"nvidia.com/gpu": str(count) if count else None}
    change = {"status": {"capacity": claimed, "allocatable": claimed}}
    try:
        KubeApi().merge(f"/api/v1/nodes/{layout.NODE_NAME}/status", change)
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"the node did not take {count} GPUs: {error}") from error


def _link_programs() -> None:
    """People and scripts find the cluster's programs in one folder, whatever build they come from."""
    layout.BIN.mkdir(parents=True, exist_ok=True)
    for name in (*binaries.KUBERNETES.links, binaries.METRICS_SERVER.name):
        target, link = binaries.program(name), layout.BIN / name
        if not (link.is_symlink() and link.readlink() == target):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
