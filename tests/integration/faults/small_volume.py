"""A small file system of its own, and no trace of those whose test was killed."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_PREFIX = "embedding-volume-"
_MOUNTED = re.compile(rf"^\S+ (\S*/{_PREFIX}(\d+)-\S*) ", re.MULTILINE)


@contextlib.contextmanager
def small_volume(megabytes: int) -> Iterator[Path]:
    """A tmpfs. Skips where nothing can be mounted."""
    sweep()
    place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def sweep() -> None:
    """Unmounts what belongs to processes that are gone."""
    for place, owner in _MOUNTED.findall(Path("/proc/mounts").read_text()):
        if not Path(f"/proc/{owner}").exists():
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
            with contextlib.suppress(OSError):
                Path(place).rmdir()


def remount(place: Path, how: str) -> None:
    """how: ro or rw."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True, capture_output=True)


def fill(place: Path) -> Path:
    """Takes all the space that is left; answers the file to delete."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler
