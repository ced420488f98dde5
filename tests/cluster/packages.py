"""The Debian packages a node is made of."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from cluster import layout
from cluster.command import run
from cluster.interface import ClusterError
from cluster.progress import step

_PROGRAMS = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": str(layout.CNI_PLUGINS / "bridge"),
    "iptables": "/usr/sbin/iptables",
    "conntrack": "/usr/sbin/conntrack",
    "ethtool": "/usr/sbin/ethtool",
    "socat": "/usr/bin/socat",
    "iproute2": "/usr/sbin/ip",
}
_LISTS = Path("/var/lib/apt/lists")
_LISTS_AGE_SECONDS = 24 * 3600
_SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    return [package for package, program in _PROGRAMS.items() if not _there(program)]


def install_command(wanted: list[str]) -> str:
    return f"apt-get update && apt-get install --no-install-recommends {' '.join(wanted)}"


def ensure() -> None:
    """Install what is missing."""
    wanted = missing()
    if not wanted:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"missing: {', '.join(wanted)}; install them with this machine's package manager")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {', '.join(wanted)}") as progress, _no_service_starts():
        if _lists_are_old():
            progress.note("package lists")
            run(["apt-get", "update", "-q"], env=environment)
        progress.note("packages")
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *wanted], env=environment)
    if still := missing():
        raise ClusterError(f"apt-get gave no {', '.join(still)}")


def _there(program: str) -> bool:
    return Path(program).exists() or Path(program.replace("/usr/", "/", 1)).exists()


def _lists_are_old() -> bool:
    lists = list(_LISTS.glob("*Packages*")) if _LISTS.is_dir() else []
    return not lists or time.time() - max(path.stat().st_mtime for path in lists) > _LISTS_AGE_SECONDS


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep dpkg from starting a containerd of the system's on the socket that ours needs."""
    if _SERVICE_POLICY.exists():
        yield
        return
    _SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")
    _SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        _SERVICE_POLICY.unlink(missing_ok=True)
