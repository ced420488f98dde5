"""Taking the host cluster away, and counting what of it is left.

It works by looking at the machine, never by remembering: half-made, killed or whole, what is there goes.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from pathlib import Path

from cluster import containerd, layout, network, process
from cluster.command import run
from cluster.interface import ClusterError

_CGROUPS = Path("/sys/fs/cgroup")
_SECONDS = 20.0
_FOLDERS = (layout.STATE, layout.REMOVED_STATE, layout.RUN)
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")  # the kubelet knows no other place for it
_CONTAINER_LOGS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")


def remove() -> None:
    """ClusterError if anything is left afterwards."""
    if not leftovers():
        return
    network.close_ranges()  # from here on no late packet finds another way out
    _kill_everything()
    containerd.refuse_foreign()
    network.remove()
    _unmount()
    _remove_cgroups()
    _remove_files()
    deadline = time.monotonic() + _SECONDS
    while left := leftovers():  # the kernel takes a moment over namespaces and their links
        if time.monotonic() > deadline:
            raise ClusterError(f"left behind: {', '.join(left)}")
        time.sleep(0.05)


def leftovers() -> list[str]:
    """Whatever of the cluster is on this machine, each as a line a person understands; empty after `remove`."""
    return [
        *(f"process {found.pid} ({found.part})" for found in process.running()),
        *(f"process {pid} (in a pod)" for pid in process.in_pods()),
        *(f"mount {mount}" for mount in mounts()),
        *(f"network link {link}" for link in network.links()),
        *(f"iptables chain {chain}" for chain in network.chains()),
        *(f"control group {folder}" for folder in _pod_cgroups()),
        *(f"folder {folder}" for folder in _FOLDERS if folder.exists()),
    ]


def mounts() -> list[str]:
    """Mount points under our folders, the innermost first; network namespaces of pods are among them."""
    ours = tuple(f"{folder}/" for folder in _FOLDERS)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    plain = [point.replace("\\040", " ") for point in points]
    return [point for point in reversed(plain) if point.startswith(ours)]


def _kill_everything() -> None:
    """Again until none is left: one that was about to start another may have done so before it died."""
    deadline = time.monotonic() + _SECONDS
    while targets := {found.pid for found in process.running()} | set(process.in_pods()):
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {sorted(targets)} keep coming back")
        process.kill(targets)


def _unmount() -> None:
    while points := mounts():
        before = len(points)
        subprocess.run(["umount", "--lazy", *points], capture_output=True)
        if len(mounts()) >= before:
            raise ClusterError(f"cannot unmount {points[0]}")


def _pod_cgroups() -> list[Path]:
    """The kubelet's control group in each hierarchy, or in the only one."""
    return [path for path in (_CGROUPS / "kubepods", *_CGROUPS.glob("*/kubepods")) if path.is_dir()]


def _remove_cgroups() -> None:
    deadline = time.monotonic() + _SECONDS
    while roots := _pod_cgroups():
        for root in roots:
            folders = sorted(root.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
            for folder in (*folders, root):
                with contextlib.suppress(OSError):  # busy until its last process is reaped
                    folder.rmdir()
        if time.monotonic() > deadline:
            raise ClusterError(f"cannot remove the control group {roots[0]}: a process is still in it")


def _remove_files() -> None:
    for folder in (layout.SHIM_SOCKETS, layout.RUNC_STATE, layout.RUN, _DEVICE_PLUGINS):
        _remove_folder(folder)
    if layout.STATE.exists():
        _refuse_mounts_under(layout.STATE)
        # A removal that is killed half-way must not leave a half of it to the next `up`.
        layout.REMOVED_STATE.mkdir(exist_ok=True)
        layout.STATE.rename(layout.REMOVED_STATE / secrets.token_hex(4))
    finish_removal()
    for file in (layout.CONTAINERD_SOCKET, Path(f"{layout.CONTAINERD_SOCKET}.ttrpc")):
        file.unlink(missing_ok=True)
    if _CONTAINER_LOGS.is_dir():
        for link in _CONTAINER_LOGS.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink()
    for result in _CNI_RESULTS.glob(f"{layout.CNI_NETWORK}-*"):
        result.unlink(missing_ok=True)
    for parent in (_DEVICE_PLUGINS.parent, layout.RUNC_STATE.parent, layout.CONTAINERD_SOCKET.parent):
        with contextlib.suppress(OSError):  # not empty, so not ours alone
            parent.rmdir()


def finish_removal() -> None:
    """Delete what a removal had put aside."""
    _remove_folder(layout.REMOVED_STATE)


def _remove_folder(folder: Path) -> None:
    _refuse_mounts_under(folder)
    if folder.exists():
        run(["rm", "-rf", "--one-file-system", folder])


def _refuse_mounts_under(folder: Path) -> None:
    """Never delete or move through a mount."""
    if any(point.startswith(f"{folder}/") for point in mounts()):
        raise ClusterError(f"something is still mounted under {folder}")
