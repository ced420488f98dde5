"""The volume of prepared models: one writer a source, atomic appearance, and no file that changes once it can be seen.

Of <weights_dir>/.prepare/<source>/, `lock` is held while the source is prepared, `download/` is kept over a crash so that
a download goes on where it broke, and what a killed run left in `build/` is thrown away.
"""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embedding_serving.contract.model import EngineName
from embedding_serving.prepared import MANIFEST, PreparedModel, RevisionPointer, pointer_path

from .errors import UnavailableError

log = logging.getLogger(__name__)

_WORK = ".prepare"
_ABANDONED_SECONDS = 24 * 3600
_LOCK_POLL_SECONDS = 0.5
_LOCK_LOG_SECONDS = 15.0
_ALWAYS_HASH_BYTES = 256 * 1024 * 1024
"""Directories up to this size are hashed whole on every start; beyond, sizes and times of change decide first."""
FORMAT = PreparedModel.model_fields["format"].default


@dataclass(frozen=True)
class Workspace:
    download: Path
    build: Path


@contextmanager
def workspace(weights_dir: Path, source_key: str) -> Iterator[Workspace]:
    """Work directories for one source, held alone; waits while another pod holds them. Raises UnavailableError, OSError."""
    work = weights_dir / _WORK / source_key
    work.mkdir(parents=True, exist_ok=True)
    with _exclusive(work / "lock"):
        _sweep(weights_dir / _WORK, keep=source_key)
        space = Workspace(work / "download", work / "build")
        shutil.rmtree(space.build, ignore_errors=True)
        space.build.mkdir()
        space.download.mkdir(exist_ok=True)
        try:
            yield space
        finally:
            shutil.rmtree(space.build, ignore_errors=True)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        _wait_for_lock(file)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _wait_for_lock(file: BinaryIO) -> None:
    next_line = 0.0
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise UnavailableError(
                    "the weights volume has no file locks, so two pods could spoil each other's files: "
                    "use a volume with POSIX locks (NFS: version 4), or leave spec.weights empty"
                ) from None
            raise
        if time.monotonic() >= next_line:
            log.info("waiting: another pod is preparing this source on the same volume")
            next_line = time.monotonic() + _LOCK_LOG_SECONDS
        time.sleep(_LOCK_POLL_SECONDS)


def _sweep(work: Path, keep: str) -> None:
    """Removes what runs of other sources left behind that were killed and never came back."""
    for directory in work.iterdir():
        if directory.name == keep or not directory.is_dir():
            continue
        lock = directory / "lock"
        try:
            newest = max(path.stat().st_mtime for path in (directory, *directory.rglob("*")))
        except OSError:  # its pod is at work
            continue
        if time.time() - newest < _ABANDONED_SECONDS:
            continue
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            log.info("removing an abandoned download", extra={"path": str(directory)})
            shutil.rmtree(directory, ignore_errors=True)


def clear_download(space: Workspace) -> None:
    shutil.rmtree(space.download, ignore_errors=True)


def intact(directory: Path, wanted: frozenset[EngineName]) -> PreparedModel | None:
    """The manifest of a directory that is complete, unchanged, and was made for the wanted engines; else None."""
    try:
        manifest = PreparedModel.load(directory)
    except (OSError, ValueError):
        return None
    if manifest.format != FORMAT or manifest.fingerprint != directory.name or not wanted <= set(manifest.considered):
        return None
    return manifest if _unchanged(directory, manifest) else None


def _unchanged(directory: Path, manifest: PreparedModel) -> bool:
    sealed_at = (directory / MANIFEST).stat().st_mtime_ns
    hash_all = sum(manifest.sizes.values()) <= _ALWAYS_HASH_BYTES
    for name, digest in manifest.files.items():
        try:
            state = (directory / name).stat()
        except OSError:
            return False
        if state.st_size != manifest.sizes.get(name):
            return False
        if (hash_all or state.st_mtime_ns > sealed_at) and hash_file(directory / name) != digest:
            return False
    return True


def hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def publish(build: Path, weights_dir: Path, manifest: PreparedModel) -> PreparedModel:
    """Makes `build` appear as `<weights_dir>/<fingerprint>`, or adds what it has to the directory that is already there.

    Returns the manifest of what lies there now.
    """
    target = weights_dir / manifest.fingerprint
    _seal(build)
    if existing := _existing(target):
        return _extend(target, existing, build, manifest)
    _write_durably(build / MANIFEST, manifest.model_dump_json().encode())
    _move_into_place(build, target)
    return manifest


def _existing(target: Path) -> PreparedModel | None:
    """A whole directory of this fingerprint, whichever engines it serves."""
    return intact(target, frozenset())


def _extend(target: Path, existing: PreparedModel, build: Path, made: PreparedModel) -> PreparedModel:
    """Adds the parts that `target` lacks. A part that its manifest names stays as it is, because pods may be reading it."""
    kept = _parts(existing.files)
    for part in _parts(made.files) - kept:
        if (target / part).is_dir():  # left by a run that was killed right here
            shutil.rmtree(target / part)
        (build / part).rename(target / part)
    files = {name: digest for name, digest in made.files.items() if name.split("/")[0] not in kept}
    both = existing.model_copy(
        update={
            "files": {**existing.files, **files},
            "sizes": {**existing.sizes, **{name: made.sizes[name] for name in files}},
            "engines": tuple(sorted({*existing.engines, *made.engines})),
            "considered": tuple(sorted({*existing.considered, *made.considered})),
        }
    )
    _sync_directory(target)
    _write_durably(target / MANIFEST, both.model_dump_json().encode())
    return both


def _parts(files: dict[str, str]) -> set[str]:
    return {name.split("/")[0] for name in files}


def _move_into_place(build: Path, target: Path) -> None:
    for _ in range(3):
        try:
            build.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if _existing(target):  # another source with the same content was faster
                return
            damaged = target.parent / _WORK / f"damaged-{target.name[:16]}-{time.time_ns()}"
            log.warning("replacing a damaged directory", extra={"path": str(target)})
            target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            _sync_directory(target.parent)
            return
    raise UnavailableError(f"{target} keeps coming back damaged: check the volume")


def point(weights_dir: Path, revision: str, fingerprint: str) -> None:
    """Names the fingerprint of a revision, in one step."""
    path = pointer_path(weights_dir, revision)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_durably(path, RevisionPointer(fingerprint=fingerprint).model_dump_json().encode())


def _seal(build: Path) -> None:
    """Files read-only and on the disk, directories too."""
    for path in sorted(build.rglob("*")):
        if path.is_file():
            path.chmod(0o444)
            _sync_file(path)
    for directory in [build, *(path for path in build.rglob("*") if path.is_dir())]:
        _sync_directory(directory)


def _write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.time_ns()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(0o444)
    temporary.rename(path)
    _sync_directory(path.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_sync_directory = _sync_file
