"""Processes of a server under test: what they have used of processor and memory, read from /proc."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> Iterator[int]:
    """The process and all that descend from it now."""
    yield pid
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from family(child)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the families, and of members that have ended and were waited for."""
    return sum(_ticks(member) for pid in pids for member in family(pid)) / CLOCK_TICKS


def memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set size: shared pages count once over all processes."""
    return sum(_proportional(member) for pid in pids for member in family(pid))


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
