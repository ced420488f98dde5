"""What the processor and the container's limits give: instruction sets, and how many CPUs we may use."""

import os
from functools import cache
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def cpu_quota(cgroup_root: Path = CGROUP_ROOT, proc: Path = PROC) -> int:
    """Whole CPUs that this process may use: the smallest of affinity and every cgroup quota above it; at least 1."""
    cpus = float(len(os.sched_getaffinity(0)))
    for directory in _cgroup_directories(cgroup_root, proc):
        quota = _quota_v2(directory) or _quota_v1(directory)
        if quota:
            cpus = min(cpus, quota)
    return max(1, int(cpus))


@cache
def cpu_flags(proc: Path = PROC) -> frozenset[str]:
    """Instruction-set flags as Linux prints them; empty where it does not say (Arm calls them `Features`)."""
    try:
        lines = (proc / "cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def has_bfloat16() -> bool:
    """Whether matrix products in bf16 run in hardware. Without it they are many times slower than fp32."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def _cgroup_directories(root: Path, proc: Path) -> list[Path]:
    """Our cgroup and its ancestors, of the unified hierarchy and of the `cpu` controller of version 1."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return [root]
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [root] if not controllers else [root / "cpu", root / "cpu,cpuacct"]
        relative = Path(path.lstrip("/"))
        found += [mount / part for mount in mounts for part in (relative, *relative.parents)]
    return found


def _quota_v2(directory: Path) -> float | None:
    fields = _read(directory / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return int(fields[0]) / int(fields[1])


def _quota_v1(directory: Path) -> float | None:
    quota, period = _read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us")
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
