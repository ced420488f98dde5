"""Which backend this machine gets, why, and what is missing with the command that gives it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster import binaries, layout, packages
from cluster.interface import ClusterError

_BUILD_BYTES = 8 * 1024**3
_CAPABILITIES = {  # of linux/capability.h: what a node cannot do without
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
_CGROUP_CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `cure` is empty where all is well; `up` cures it itself where `automatic`."""

    what: str
    state: str
    cure: str = ""
    automatic: bool = False

    @property
    def ok(self) -> bool:
        return not self.cure or self.automatic


def docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def require_host() -> None:
    """ClusterError that names everything `up` could not cure itself."""
    missing = [f"{finding.what}: {finding.cure}" for finding in host_findings() if not finding.ok]
    if missing:
        raise ClusterError("; ".join(missing))


def host_findings() -> list[Finding]:
    return [_root(), _capabilities(), _kernel(), _cgroups(), _packages(), _go(), _disk(), _proc("ip_forward")]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "yes")
    return Finding("root", f"no, user {os.geteuid()}", "run it with sudo")


def _capabilities() -> Finding:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if not missing:
        return Finding("capabilities", "enough")
    return Finding("capabilities", f"without {', '.join(missing)}", "give them to the container or user it runs as")


def _kernel() -> Finding:
    missing = []
    if "overlay" not in Path("/proc/filesystems").read_text():
        missing.append("overlay")
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        missing.append("br_netfilter")
    if not missing:
        return Finding("kernel", f"{os.uname().release}, overlay and br_netfilter")
    return Finding("kernel", f"without {', '.join(missing)}", f"modprobe -a {' '.join(missing)}")


def _cgroups() -> Finding:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.is_file():
        there, version = set(unified.read_text().split()), "v2"
    else:
        there = {path.name for path in Path("/sys/fs/cgroup").glob("*") if (path / "tasks").is_file()}
        version = "v1"
    if missing := _CGROUP_CONTROLLERS - there:
        cure = "mount them under /sys/fs/cgroup" if version == "v1" else "enable them for this machine or container"
        return Finding("control groups", f"{version} without {', '.join(sorted(missing))}", cure)
    return Finding("control groups", version)


def _packages() -> Finding:
    missing = packages.missing()
    if not missing:
        return Finding("Debian packages", "all there")
    return Finding(
        "Debian packages",
        f"without {', '.join(missing)}",
        packages.install_command(missing),
        automatic=shutil.which("apt-get") is not None,
    )


def _go() -> Finding:
    unbuilt = [
        tool.name for tool in (binaries.KUBERNETES, binaries.METRICS_SERVER, binaries.PAUSE) if not binaries.built(tool)
    ]
    if not unbuilt:
        return Finding("binaries", f"built, in {layout.cache()}")
    if shutil.which("go"):
        return Finding("binaries", f"to build: {', '.join(unbuilt)}", "python -m cluster build", automatic=True)
    return Finding("binaries", "not built, and no Go", "install Go 1.26 or newer")


def _disk() -> Finding:
    folder = layout.cache()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    enough = free > _BUILD_BYTES or all(binaries.built(tool) for tool in binaries.TOOLS)
    return Finding("disk", f"{free / 1024**3:.0f} GiB free", "" if enough else f"free 8 GiB under {folder}")


def _proc(_: str) -> Finding:
    writable = os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK)
    return Finding(
        "kernel settings", "writable" if writable else "read-only", "" if writable else "remount /proc/sys rw"
    )


def explain(findings: list[Finding]) -> str:
    """One line a finding, what is missing with its cure."""
    lines = []
    for finding in findings:
        mark = "ok " if not finding.cure else ("do " if finding.automatic else "NO ")
        cure = f"  → {finding.cure}{' (`up` does it)' if finding.automatic else ''}" if finding.cure else ""
        lines.append(f"  {mark} {finding.what}: {finding.state}{cure}")
    return "\n".join(lines)


def no_backend() -> ClusterError:
    reasons = "; ".join(f"{finding.what}: {finding.cure}" for finding in host_findings() if not finding.ok)
    return ClusterError(f"no Docker engine answers, and the host backend lacks {reasons}")
