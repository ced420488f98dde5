"""Running another program to its end, with its own words in the error."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.interface import ClusterError

_SHOWN_CHARACTERS = 1000


def run(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,  # noqa: A002 - the word of subprocess
    check: bool = True,
    timeout_seconds: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What `argv` writes to standard output. ClusterError if it is not there, is too slow, or (with `check`) fails."""
    shown = f"{Path(argv[0]).name} {' '.join(str(word) for word in argv[1:])}"
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as missing:
        raise ClusterError(f"{argv[0]} is not there; `python -m cluster preflight` says what gives it") from missing
    except subprocess.TimeoutExpired as slow:
        raise ClusterError(f"{shown}: no end after {timeout_seconds:.0f} s") from slow
    if check and done.returncode != 0:
        words = " ".join((done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").split())
        raise ClusterError(f"{shown}: {words[:_SHOWN_CHARACTERS]}")
    return done.stdout
