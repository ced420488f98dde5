"""What goes into an image, as one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from images.image import ImageError

_CHUNK_BYTES = 1 << 20


def hash_of(paths: Iterable[Path], *, relative_to: Path, also: Iterable[str] = ()) -> str:
    """SHA-256 over names and contents of files, and over the strings `also`; modes and times do not count."""
    total = hashlib.sha256()
    for word in also:
        total.update(f"{word}\0".encode())
    for file in sorted(_files(paths)):
        total.update(f"{file.relative_to(relative_to)}\0{_content(file)}\0".encode())
    return total.hexdigest()


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file() and not _ignored(file))
        elif path.is_file():
            yield path
        else:
            raise ImageError(f"{path} is missing, and an image is made from it")


def _ignored(file: Path) -> bool:
    """As .dockerignore has it."""
    return file.suffix == ".pyc" or "__pycache__" in file.parts


def _content(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
