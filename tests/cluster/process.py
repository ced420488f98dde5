"""Background processes that outlive the command which started them.

A process of ours carries a mark in its environment: which part it is, and a fingerprint of the command line and the
configuration it was started with. The mark is the record, so there is no moment at which a killed command can leave a
process without one, no stale file after a reboot, and no reused process id to mistake for ours.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import layout
from cluster.interface import ClusterError

_MARK = "LOCAL_CLUSTER_PART"
_FINGERPRINT = "LOCAL_CLUSTER_FINGERPRINT"
_LOG_BYTES = 32 * 1024**2
_ENV = "/usr/bin/env"
_DEAD_STATES = "ZX"  # PID 1 may reap late: a zombie is as dead as it gets


@dataclass(frozen=True)
class Running:
    """A live process of ours. `leader` is false for what it started itself, such as containerd's shims."""

    pid: int
    part: str
    fingerprint: str
    leader: bool


def running() -> Iterator[Running]:
    """Every live process that carries this cluster's mark."""
    for pid in pids():
        marks = _marks(pid)
        if marks is None:
            continue
        if alive(pid):
            yield Running(pid, marks[0], marks[1], leader=_state_and_session(pid)[1] == pid)


def leaders() -> dict[str, Running]:
    """The running parts by name."""
    return {found.part: found for found in running() if found.leader}


def spawn(part: str, argv: Sequence[str | Path], fingerprint: str, env: Mapping[str, str] | None = None) -> int:
    """Start a process that survives us, with its output appended to the part's log."""
    layout.LOGS.mkdir(parents=True, exist_ok=True)
    if log_of(part).exists() and log_of(part).stat().st_size > _LOG_BYTES:
        log_of(part).replace(log_of(f"{part}.old"))
    environment = {
        "PATH": f"{layout.BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        **(env or {}),
        _MARK: f"{layout.NAME}/{part}",
        _FINGERPRINT: fingerprint,
    }
    with log_of(part).open("ab") as log:
        # Not subprocess: it takes an object that is dropped before its process ends for a mistake.
        output = [(os.POSIX_SPAWN_DUP2, log.fileno(), descriptor) for descriptor in (1, 2)]
        no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        try:
            return os.posix_spawn(
                _ENV,
                [_ENV, "--chdir=/", *(str(word) for word in argv)],  # hold on to nobody's folder
                environment,
                file_actions=[no_input, *output],
                setsid=True,
            )
        except OSError as error:
            raise ClusterError(f"cannot start {part}: {error}") from error


def log_of(part: str) -> Path:
    return layout.LOGS / f"{part}.log"


def kill(targets: Iterable[int], *, timeout_seconds: float = 10.0) -> None:
    """SIGKILL these processes and wait until none of them runs."""
    waiting = set(targets)
    for pid in waiting:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + timeout_seconds
    while waiting := {pid for pid in waiting if alive(pid)}:
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {sorted(waiting)} do not end after SIGKILL")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    if _state_and_session(pid)[0] not in _DEAD_STATES:
        return True
    # A killed process is a zombie as soon as its first thread is; until the last one ends it holds its ports.
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1  # noqa: PTH208
    except OSError:
        return False


def pids() -> Iterator[int]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all we want of thousands
        if entry.isdigit():
            yield int(entry)


def in_pods() -> list[int]:
    """Live processes that run inside a pod: their control group says so."""
    return [pid for pid in pids() if "/kubepods" in _read(pid, "cgroup") and alive(pid)]


def _marks(pid: int) -> tuple[str, str] | None:
    found: dict[str, str] = {}
    for entry in _read(pid, "environ").split("\0"):
        name, _, value = entry.partition("=")
        if name in (_MARK, _FINGERPRINT):
            found[name] = value
    owner, _, part = found.get(_MARK, "").partition("/")
    return (part, found.get(_FINGERPRINT, "")) if owner == layout.NAME and part else None


def _state_and_session(pid: int) -> tuple[str, int]:
    """The one-letter state and the session id; `X` if there is no such process."""
    # The second field is the program's name in parentheses and may hold anything, so count from its end.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (fields[0], int(fields[3])) if len(fields) > 3 else ("X", 0)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it ended while we looked
        return ""
