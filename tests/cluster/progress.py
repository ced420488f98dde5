"""Long steps say what they do: a spinner on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

HEARTBEAT_SECONDS = 15.0
SILENT_SECONDS = 0.3  # a step this short needs no line of its own


class Step:
    """A step under way; `note` says how far it is."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""

    def note(self, detail: str) -> None:
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}" if self.detail else self.title


class _SpinningStep(Step):
    def __init__(self, title: str, progress: Progress) -> None:
        super().__init__(title)
        self._progress = progress
        self._task = progress.add_task(title)

    def note(self, detail: str) -> None:
        super().note(detail)
        self._progress.update(self._task, description=str(self))


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show `title` while the block runs."""
    started = time.monotonic()
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            yield _SpinningStep(title, progress)
    else:
        plain = Step(title)
        done = threading.Event()
        beat = threading.Thread(target=_beat, args=(plain, done, started), daemon=True)
        beat.start()
        try:
            yield plain
        finally:
            done.set()
            beat.join()
    took = time.monotonic() - started
    if took > SILENT_SECONDS:
        print(f"{title}: done in {took:.1f} s", file=sys.stderr, flush=True)


def _beat(step: Step, done: threading.Event, started: float) -> None:
    while not done.wait(HEARTBEAT_SECONDS):
        print(f"{step} … {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
