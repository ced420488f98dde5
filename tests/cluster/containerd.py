"""The node's containerd: whether it works, whose it is, and the images in it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from cluster import layout, process
from cluster.command import run
from cluster.interface import ClusterError

_CRI = "io.containerd.grpc.v1"  # the plugin that the kubelet talks to
_SECONDS = 10.0


def works() -> bool:
    """Whether the kubelet could use it."""
    if not _socket_answers():
        return False
    try:
        rows = run([*_ctr(), "plugins", "ls", "id==cri"], timeout_seconds=_SECONDS).splitlines()
    except ClusterError:
        return False
    return any(row.split()[0] == _CRI and row.split()[-1] == "ok" for row in rows)


def foreign() -> bool:
    """Whether somebody else's containerd has the socket that the node needs."""
    return "containerd" not in process.leaders() and _socket_answers()


def refuse_foreign() -> None:
    """ClusterError rather than touch what is not ours."""
    if foreign():
        raise ClusterError(
            f"another containerd serves {layout.CONTAINERD_SOCKET}: stop it (systemctl stop containerd), or use kind"
        )


def images() -> dict[str, str]:
    """Manifest digest of each image on the node by its name."""
    rows = [row.split() for row in run([*_ctr(), "images", "ls"]).splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def import_archive(archive: Path) -> None:
    run([*_ctr(), "images", "import", archive])


def _ctr() -> list[str]:
    return ["ctr", f"--address={layout.CONTAINERD_SOCKET}", f"--namespace={layout.CONTAINERD_NAMESPACE}"]


def _socket_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as door, contextlib.suppress(OSError):
        door.settimeout(2)
        door.connect(str(layout.CONTAINERD_SOCKET))
        return True
    return False
