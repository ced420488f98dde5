"""Having the parts run: leave alone what works, start what is dead, replace what is out of date or unwell."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from cluster import process
from cluster.interface import ClusterError
from cluster.parts import Part

_START_SECONDS = 60.0
_UNWELL_SECONDS = 10.0  # a live part that does not answer for this long is started anew
_POLL_SECONDS = 0.05


def ensure(wanted: Iterable[Part]) -> set[str]:
    """Have all of these run and answer; the names of those that had to be started."""
    found = process.leaders()
    started: dict[str, int] = {}
    wanted = list(wanted)
    for part in wanted:
        there = found.get(part.name)
        if there and there.fingerprint == part.fingerprint and _becomes_healthy(part, there.pid, _UNWELL_SECONDS):
            continue
        if there:
            process.kill([there.pid])
        for path, content in part.files.items():
            replace_file(path, content.encode())
        started[part.name] = process.spawn(part.name, part.argv, part.fingerprint, part.env)
    for part in wanted:
        if part.name in started and not _becomes_healthy(part, started[part.name], _START_SECONDS):
            raise ClusterError(f"{part.name} does not work; its last words: {_last_words(part.name)}")
    return set(started)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and not if it is so already."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _becomes_healthy(part: Part, pid: int, seconds: float) -> bool:
    """Whether it answers within the time; no use waiting once it has ended."""
    deadline = time.monotonic() + seconds
    while not part.healthy():
        if time.monotonic() > deadline or not process.alive(pid):
            return False
        time.sleep(_POLL_SECONDS)
    return process.alive(pid)


def _last_words(part: str) -> str:
    log = process.log_of(part)
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return f"{lines[-1] if lines else 'none'} (all of them: {log})"
