"""One process a volume: a lock file that the kernel lets go of when its holder dies."""

import fcntl
import os
import time
from pathlib import Path
from typing import Self

LOCK_FILE = "lock"
LOOK_SECONDS = 0.1


class VolumeTaken(Exception):
    """Another process has the volume open."""


class VolumeLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: Path, wait_seconds: float) -> Self:
        """Waits for an earlier holder to end. Blocking. Raises VolumeTaken, OSError where the volume cannot be read.

        A volume that is read-only is locked by its directory.
        """
        try:
            descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise VolumeTaken(f"another process has {directory} open: it must end first") from None
                time.sleep(LOOK_SECONDS)

    def release(self) -> None:
        os.close(self._descriptor)
