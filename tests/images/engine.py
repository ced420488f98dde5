"""What builds images: one small interface, a Docker engine or buildah behind it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from images.archive import Exported
from images.image import ImageError
from images.recipes import Recipe

ENGINE_ENV = "EO_IMAGE_ENGINE"
_TAIL_LINES = 12

Note = Callable[[str], None]
"""Takes one line of progress."""


class Engine(Protocol):
    """Errors are ImageError. No call is made while another process builds (see images.building)."""

    @property
    def name(self) -> str: ...

    def base(self, refresh: bool) -> str:
        """A name for the base image that the builds may use, and that changes when the base does."""
        ...

    def build(self, recipe: Recipe, reference: str, arguments: Mapping[str, str], note: Note) -> None: ...

    def export(self, reference: str, folder: Path) -> Exported:
        """The built image, its blobs written under the empty `folder`."""
        ...

    def prune(self, repository: str, keep: str) -> None:
        """Forget the other tags of `repository`, leftovers of killed builds, and layers that nothing refers to."""
        ...


def run_logged(argv: Sequence[str], log: Path, note: Note, *, env: Mapping[str, str], keep_open: Sequence[int] = ()) -> None:
    """Run to the end, every line to `log` and to `note`. ImageError with the last lines if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        pipes: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "errors": "replace",
        }
        with subprocess.Popen(argv, env=env, pass_fds=keep_open, **pipes) as process:
            try:
                _follow(process, file.write, note)
            finally:
                if process.poll() is None:
                    process.terminate()
    if process.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-_TAIL_LINES:])
        raise ImageError(f"{argv[0]} build failed; the whole output is in {log}, its end:\n{tail}")


def _follow(process: subprocess.Popen[str], write: Callable[[str], int], note: Note) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        write(line)
        if shown := line.strip():
            note(shown[:100])


def output(argv: Sequence[str], *, env: Mapping[str, str] = os.environ, keep_open: Sequence[int] = ()) -> str:
    """Standard output of a short command. ImageError with its last line of error."""
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", env=env, pass_fds=keep_open)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ImageError(f"{' '.join(argv[:3])} …: {words}")
    return done.stdout
