"""Fetches one file over HTTP: goes on where an earlier run broke off, tells how far it is, and trusts only matching content.

The transfer itself (ranges, rate limits, retries of a stream) is huggingface_hub's `http_get`; its own `hf_hub_download` can't
be used, since it starts a broken file again from zero after a restart of the pod.
"""

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import disable_progress_bars

from .errors import HashMismatchError, UnavailableError

log = logging.getLogger(__name__)

_LOG_SECONDS = 5.0
_PATIENCE_SECONDS = 12.0
"""How long no byte may arrive before the pod gives up and is restarted, with the kubelet's longer pauses."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
_GONE_RANGE = 416
_CLIENT_ERRORS = range(400, 500)
_WORTH_RETRYING = frozenset({408, 416, 425, 429})

disable_progress_bars()
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retry warnings print whole URLs, signatures included


@dataclass(frozen=True)
class Expected:
    """What the source says of the content; a hash that is None is not known."""

    size: int | None
    sha256: str | None
    git_sha1: str | None = None
    """Git's name of the content, for the small files that a hub keeps in git itself."""


class Progress:
    """Bytes fetched so far of all files of a source; a log line every few seconds and one at the end."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._next_line = clock() + _LOG_SECONDS
        self.bytes_ = 0

    def expect(self, total: int) -> None:
        self._total = total

    def add(self, count: int) -> None:
        self.bytes_ += count
        if self._clock() >= self._next_line:
            self.tell("downloading")

    def tell(self, message: str) -> None:
        self._next_line = self._clock() + _LOG_SECONDS
        extra: dict[str, int] = {"bytes": self.bytes_}
        if self._total:
            extra |= {"total_bytes": self._total, "percent": min(100, 100 * self.bytes_ // self._total)}
        log.info(message, extra=extra)


class _CountedFile(io.FileIO):
    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path, "ab")
        self._progress = progress

    def write(self, data: object, /) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        written = 0
        while written < len(view):
            written += super().write(view[written:])
        self._progress.add(written)
        return written


@contextmanager
def http_client(make: Callable[[], httpx2.Client]) -> Iterator[None]:
    """While open, everything that huggingface_hub sends goes through clients of `make`."""
    set_client_factory(make)
    try:
        yield
    finally:
        set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=None))


def download(url: str, target: Path, expected: Expected, headers: dict[str, str], progress: Progress) -> None:
    """Leaves the content of `url` in `target`, verified and on the disk.

    Raises HashMismatchError where the content is another, UnavailableError where the transfer makes no headway,
    HfHubHTTPError where the server refuses, OSError where the disk does.
    """
    if target.is_file() and _matches(target, expected):
        progress.add(target.stat().st_size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    resumed = _transfer(url, part, expected, headers, progress)
    if not _matches(part, expected) and resumed:
        log.warning("the resumed file does not match its hash: fetching it again from the start", extra={"file": target.name})
        progress.add(-part.stat().st_size)
        part.unlink()
        _transfer(url, part, expected, headers, progress)
    if not _matches(part, expected):
        actual = _sha256(part)
        part.unlink()
        raise HashMismatchError(
            f"{target.name} has SHA-256 {actual[:16]}…, expected {(expected.sha256 or expected.git_sha1 or '')[:16]}…: "
            "the content was changed or damaged on its way. Check the pinned hash and whatever mirror or proxy serves the file"
        )
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.rename(target)


def _transfer(url: str, part: Path, expected: Expected, headers: dict[str, str], progress: Progress) -> bool:
    """Fetches what is missing in `part`; whether any of it was there before."""
    found = _usable_bytes(part, expected)
    progress.add(found)
    if found:
        log.info("resuming a download", extra={"file": part.name.removesuffix(".part"), "bytes": found})
    pause, give_up_at = _FIRST_PAUSE_SECONDS, time.monotonic() + _PATIENCE_SECONDS
    while True:
        start = _usable_bytes(part, expected)
        try:
            with _CountedFile(part, progress) as file:
                http_get(
                    url,
                    file,
                    resume_size=start,
                    headers={**headers, "Accept-Encoding": "identity"},
                    expected_size=expected.size,
                )
        except (httpx2.TransportError, HfHubHTTPError, OSError) as error:
            if not _worth_retrying(error, part):
                raise
            if part.stat().st_size > start:
                pause, give_up_at = _FIRST_PAUSE_SECONDS, time.monotonic() + _PATIENCE_SECONDS
            if time.monotonic() >= give_up_at:
                raise UnavailableError(
                    f"{part.name.removesuffix('.part')} could not be fetched from {httpx2.URL(url).host} ({_reason(error)}): "
                    "it is tried again and goes on where it broke. Check the server and the network policy if this lasts"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return bool(found)


def _usable_bytes(part: Path, expected: Expected) -> int:
    size = part.stat().st_size if part.is_file() else 0
    if expected.size is not None and size > expected.size:
        part.unlink()
        return 0
    return size


def _worth_retrying(error: Exception, part: Path) -> bool:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == _GONE_RANGE:
            part.unlink(missing_ok=True)
            part.touch()
        return status not in _CLIENT_ERRORS or status in _WORTH_RETRYING
    if isinstance(error, OSError):
        return error.errno is None  # http_get's own complaint about a short body; a real one comes from the disk
    return True


def _reason(error: Exception) -> str:
    return f"HTTP {error.response.status_code}" if isinstance(error, HfHubHTTPError) else type(error).__name__


def _matches(path: Path, expected: Expected) -> bool:
    if expected.size is not None and path.stat().st_size != expected.size:
        return False
    if expected.sha256 is not None:
        return _sha256(path) == expected.sha256
    return expected.git_sha1 is None or _git_sha1(path) == expected.git_sha1


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()
