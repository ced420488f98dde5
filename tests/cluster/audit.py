"""Reading the API server's audit log, through its rotations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def events(log: Path, since: datetime) -> Iterator[dict[str, Any]]:
    """Events received at or after `since`, in the order they were written.

    A request is written when it is answered (`stage: ResponseComplete`), a watch also when it starts
    (`ResponseStarted`).
    """
    threshold = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # the log's own form: it sorts as text
    for file in _files(log):
        if file.stat().st_mtime < since.timestamp():
            continue
        with file.open() as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # being written at this moment
                event: dict[str, Any] = json.loads(line)
                if event["requestReceivedTimestamp"] >= threshold:
                    yield event


def _files(log: Path) -> list[Path]:
    """Rotated files by age (their names carry the time), then the one being written."""
    rotated = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
    return [*rotated, *([log] if log.is_file() else [])]
