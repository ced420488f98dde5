"""Unpacks a tar that a stranger made: plain files alone, inside one directory, within limits."""

import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from .disk import require_space
from .errors import UnsupportedModelError
from .selection import CONFIG, MODULES, select

MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = 128 * 1024**3

_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


def unpack(archive: Path, target: Path) -> tuple[str, ...]:
    """Unpacks the needed files of `archive` into `target`, which must not exist; returns their paths.

    A single directory around everything is left out. The whole archive is checked before the first byte is written.
    Raises UnsupportedModelError, UnsafeWeightsError, UnavailableError (no room); OSError from the disk.
    """
    sizes = _check(archive)
    prefix = _common_directory(sizes)
    inside = {name.removeprefix(prefix): name for name in sizes}
    chosen = select(inside)
    require_space(archive.parent, sum(sizes[inside[name]] for name in chosen), "to unpack the archive")
    staging = target.with_name(f"{target.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    wanted = {inside[name]: staging / name for name in chosen}
    with _open(archive) as tar:
        for member in tar:
            if (path := wanted.pop(_name(member), None)) is not None:
                _write(tar, member, path)
    staging.rename(target)
    return tuple(chosen)


def _check(archive: Path) -> dict[str, int]:
    """Sizes of the files by normalised name."""
    sizes: dict[str, int] = {}
    total = 0
    with _open(archive) as tar:
        for count, member in enumerate(tar, 1):
            _refuse_unsafe(member)
            total += member.size
            if count > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
                raise UnsupportedModelError(
                    f"the archive holds more than {MAX_MEMBERS} entries or {MAX_UNPACKED_BYTES >> 30} GiB: "
                    "pack the files of one model alone"
                )
            if member.isdir() or PurePosixPath(member.name).name.startswith("._"):  # macOS adds these beside every file
                continue
            name = _name(member)
            if name in sizes:
                raise UnsupportedModelError(f"the archive holds {name!r:.120} twice: pack it again")
            sizes[name] = member.size
    return sizes


def _refuse_unsafe(member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise UnsupportedModelError(f"the archive names {member.name!r:.120}, outside of itself: pack it with relative paths")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise UnsupportedModelError(
            f"the archive holds {member.name!r:.120}, which is no plain file (a link, a device or sparse): "
            "pack it with the files themselves (tar --dereference --hard-dereference)"
        )


def _name(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).as_posix()


def _common_directory(sizes: dict[str, int]) -> str:
    if CONFIG in sizes or MODULES in sizes:
        return ""
    tops = {name.partition("/")[0] for name in sizes}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in sizes) else ""


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise UnsupportedModelError(f"the archive's {member.name!r:.120} can't be read: pack it again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("xb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _open(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r|*") as tar:
            yield tar
    except _BROKEN as error:
        raise _unreadable(error) from None
    except OSError as error:
        if error.errno is not None:  # the disk; without a number it is a decompressor's complaint
            raise
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the archive is no readable tar ({type(error).__name__}): pack the model's directory "
        "as .tar, .tar.gz, .tar.bz2 or .tar.xz"
    )
