"""One process a data directory. Whoever comes second is told at once who has it: on a laptop nobody is about to end."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..contract.reports import Outcome
from ..failure import StartFailed
from ..shard.lock import VolumeLock, VolumeTaken

HOLDER_FILE = "holder"


@contextlib.contextmanager
def claimed(directory: Path, url: str) -> Iterator[None]:
    """Holds the directory for the process that answers at `url`. Raises StartFailed."""
    try:
        lock = VolumeLock.take(directory, wait_seconds=0)
    except VolumeTaken:
        detail = f"data_dir: {directory} is in use by {_holder(directory)}: end that, or give another --data-dir"
        raise StartFailed(Outcome.UNAVAILABLE, detail) from None
    except OSError as error:
        raise StartFailed(Outcome.UNAVAILABLE, f"data_dir: {directory} cannot be read: {error.strerror}") from error
    try:
        with contextlib.suppress(OSError):  # what cannot be written is said by whoever needs to write there
            (directory / HOLDER_FILE).write_text(f"process {os.getpid()} ({url})")
        yield
    finally:
        lock.release()


def _holder(directory: Path) -> str:
    try:
        return (directory / HOLDER_FILE).read_text() or "another process"
    except OSError:
        return "another process"
