"""Source `directory`: a mounted claim, or what an init container copied out of an image."""

import os
from pathlib import Path

from .errors import SourceNotFoundError, UnsupportedModelError
from .selection import select

_MAX_DEPTH = 2
"""Modules lie one level deep; a hub cache or a whole claim is not searched."""
_MAX_ENTRIES = 10_000


def open_directory(root: Path) -> tuple[str, ...]:
    """The needed files under `root`, relative to it. Raises SourceNotFoundError, UnsafeWeightsError, UnsupportedModelError."""
    if not root.is_dir():
        raise SourceNotFoundError(
            f"{root} is no directory: check the path in spec.model.source and that the files were copied there"
        )
    names: list[str] = []
    try:
        for path in _walk(root, 1):
            names.append(path.relative_to(root).as_posix())
            if len(names) > _MAX_ENTRIES:
                raise UnsupportedModelError(f"{root} holds more than {_MAX_ENTRIES} files: give the path of one model")
    except PermissionError as error:
        raise SourceNotFoundError(
            f"{error.filename} can't be read by user {os.getuid()}: make the files on the volume readable for everyone"
        ) from None
    chosen = select(names)
    device = root.stat().st_dev
    for name in chosen:
        _check_file(root / name, device)
    return tuple(chosen)


def _walk(directory: Path, depth: int) -> list[Path]:
    found: list[Path] = []
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            found += _walk(path, depth + 1) if depth < _MAX_DEPTH and not path.name.startswith(".") else []
        else:
            found.append(path)
    return found


def _check_file(path: Path, device: int) -> None:
    """Links are fine within the volume (a hub cache is made of them), but must not lead to other files of the pod."""
    try:
        state = path.stat()
        readable = os.access(path, os.R_OK)
    except OSError:
        raise SourceNotFoundError(
            f"{path} is a link to a file that is not there: copy the files themselves to the volume"
        ) from None
    if not path.is_file() or state.st_dev != device:
        raise UnsupportedModelError(f"{path} is no regular file on its volume: copy the files themselves to the volume")
    if not readable:
        raise SourceNotFoundError(
            f"{path} can't be read by user {os.getuid()}: make the files on the volume readable for everyone"
        )
