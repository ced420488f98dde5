"""What a backend needs of this machine, what is missing, and the command that gives it."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cluster import binaries, containerd, layout, packages, process
from cluster.command import run
from cluster.interface import ClusterError

_BUILD_GIB = 8
_NEEDED_TOOLS = (binaries.KUBERNETES, binaries.METRICS_SERVER, binaries.PAUSE)
_CAPABILITIES = {  # bits of linux/capability.h that a node cannot do without
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
_IP_FREEBIND = 15  # of linux/in.h; Python does not name it
_RELEASE_SECONDS = 5.0
"""By then the ports of a process are free that was killed a moment ago."""
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Without a `cure` it is well; an `automatic` cure is `up`'s own work."""

    what: str
    state: str
    cure: str = ""
    automatic: bool = False

    @property
    def ok(self) -> bool:
        return not self.cure or self.automatic

    def __str__(self) -> str:
        if not self.cure:
            return f"  ok    {self.what}: {self.state}"
        if self.automatic:
            return f"  later {self.what}: {self.state}; `up` does: {self.cure}"
        return f"  NO    {self.what}: {self.state}; {self.cure}"


def docker_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def require(findings: list[Finding]) -> None:
    """ClusterError that names everything `up` could not cure itself."""
    missing = [f"{finding.what}: {finding.state}; {finding.cure}" for finding in findings if not finding.ok]
    if missing:
        raise ClusterError(" | ".join(missing))


def host_findings() -> list[Finding]:
    return [
        _root(),
        _capabilities(),
        _kernel(),
        _kernel_settings(),
        _cgroups(),
        _packages(),
        _binaries(),
        _ports(),
        _ranges(),
    ]


def kind_findings() -> list[Finding]:
    docker = Finding("Docker", "answers")
    if not docker_answers():
        docker = Finding("Docker", "does not answer", "start it (systemctl start docker), or use --backend host")
    library = Finding("pytest-kind", "there")
    if importlib.util.find_spec("pytest_kind") is None:
        library = Finding("pytest-kind", "missing", "pip install pytest-kind")
    return [docker, library, Finding("kubectl", *_buildable([binaries.KUBERNETES]))]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "yes")
    return Finding("root", f"no, user {os.geteuid()}", "run it with sudo, or start a Docker engine")


def _capabilities() -> Finding:
    effective = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        return Finding("capabilities", f"without {', '.join(missing)}", "run where root has them (docker: --privileged)")
    return Finding("capabilities", "enough")


def _kernel() -> Finding:
    missing = [] if "overlay" in Path("/proc/filesystems").read_text() else ["overlay"]
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        missing.append("br_netfilter")
    if missing:
        return Finding("kernel", f"without {', '.join(missing)}", f"modprobe -a {' '.join(missing)}")
    return Finding("kernel", f"{os.uname().release} with overlay and br_netfilter")


def _kernel_settings() -> Finding:
    if os.access(_FORWARDING, os.W_OK):
        return Finding("kernel settings", "writable")
    return Finding("kernel settings", "read-only", "mount -o remount,rw /proc/sys")


def _cgroups() -> Finding:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.is_file():
        there, version = set(unified.read_text().split()), "v2"
    else:
        there, version = {path.parent.name for path in Path("/sys/fs/cgroup").glob("*/tasks")}, "v1"
    if missing := _CGROUP_CONTROLLERS - there:
        named = ", ".join(sorted(missing))
        return Finding("control groups", f"{version} without {named}", "mount or enable them under /sys/fs/cgroup")
    return Finding("control groups", version)


def _packages() -> Finding:
    missing = packages.missing()
    if not missing:
        return Finding("Debian packages", "all there")
    if shutil.which("apt-get"):
        cure = packages.install_command(missing)
        return Finding("Debian packages", f"without {', '.join(missing)}", cure, automatic=True)
    return Finding("Debian packages", f"without {', '.join(missing)}", "install their like: this is no Debian")


def _binaries() -> Finding:
    return Finding("binaries", *_buildable(_NEEDED_TOOLS))


def _buildable(tools: tuple[binaries.Tool, ...] | list[binaries.Tool]) -> tuple[str, str, bool]:
    """State, cure, and whether the cure is automatic."""
    unbuilt = [tool.name for tool in tools if not binaries.built(tool)]
    if not unbuilt:
        return f"built, in {layout.cache()}", "", False
    state = f"not built: {', '.join(unbuilt)}"
    if not shutil.which("go"):
        return f"{state}, and there is no Go", "install Go 1.26 or newer", False
    folder = next(parent for parent in (layout.cache(), *layout.cache().parents) if parent.exists())
    free_gib = shutil.disk_usage(folder).free / 1024**3
    if free_gib < _BUILD_GIB:
        return f"{state}, and {free_gib:.0f} GiB are free", f"free {_BUILD_GIB} GiB under {folder}", False
    return state, "python -m cluster build (about 7 minutes on two cores, once)", True


def _ports() -> Finding:
    """Only a machine without our processes can say whether the ports are free."""
    if containerd.foreign():
        cure = "stop it (systemctl stop containerd), or use kind"
        return Finding("ports", f"another containerd serves {layout.CONTAINERD_SOCKET}", cure)
    if process.leaders():
        return Finding("ports", "the cluster's own processes have them")
    wanted = [(layout.NODE_IP, port) for port in layout.NODE_PORTS] + [("127.0.0.1", p) for p in layout.LOOPBACK_PORTS]
    deadline = time.monotonic() + _RELEASE_SECONDS
    while (taken := [port for address, port in wanted if not _free(address, port)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if taken:
        which = " or ".join(f"sport = :{port}" for port in taken)
        cure = f"stop what `ss -Hltnp '{which}'` shows"
        return Finding("ports", f"taken: {', '.join(map(str, taken))}", cure)
    return Finding("ports", "free")


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # before the bridge, the address is not there yet
        try:
            probe.bind((address, port))
        except PermissionError:
            return True  # not root: another finding says so
        except OSError:
            return False
    return True


def _ranges() -> Finding:
    """Somebody else's route into our ranges would be cut off by ours."""
    try:
        routes = run(["ip", "-4", "route", "show"]).splitlines()
    except ClusterError:
        return Finding("address ranges", "not known before iproute2 is there")
    others = [route for route in routes if clashes(route)]
    if others:
        return Finding("address ranges", f"in use: {others[0].strip()}", "choose other ranges in layout.py")
    return Finding("address ranges", f"{layout.POD_RANGE} and {layout.SERVICE_RANGE} are free or ours")


def clashes(route: str) -> bool:
    words = route.split()
    if words[0] in ("default", "unreachable") or layout.BRIDGE in words:
        return False
    try:
        target = ipaddress.ip_network(words[0])
    except ValueError:
        return False
    ours = (ipaddress.ip_network(network) for network in (layout.POD_RANGE, layout.SERVICE_RANGE))
    return any(target.overlaps(network) for network in ours)
