"""Source `http`: a tar behind a URL, pinned by its hash."""

from collections.abc import Iterable
from pathlib import Path

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from embedding_serving.contract.model import HTTPSource

from .archive import unpack
from .directory_source import open_directory
from .disk import require_space
from .download import Expected, Progress, download, http_client
from .errors import SourceNotFoundError, UnavailableError
from .public_address import PublicTransport, check_url

_MAX_REDIRECTS = 5


def fetch_archive(source: HTTPSource, allowed_hosts: Iterable[str], target: Path) -> tuple[Path, tuple[str, ...]]:
    """(directory, paths) of the needed files, unpacked below `target` after the archive's hash was found right.

    Raises SourceNotFoundError, UnavailableError, HashMismatchError, UnsafeWeightsError, UnsupportedModelError; OSError
    from the disk.
    """
    files = target / "files"
    if files.is_dir():  # left by a run that was killed while converting
        return files, open_directory(files)
    allowed = frozenset(host.lower() for host in allowed_hosts)
    url = _parse(source.url)
    host = check_url(url, allowed)
    archive = target / "archive"
    progress = Progress(None)
    with http_client(lambda: _client(allowed, progress, target)):
        try:
            download(str(url), archive, Expected(None, source.sha256), {}, progress)
        except HfHubHTTPError as error:
            raise _refusal(host, error.response.status_code) from None
        except httpx2.TooManyRedirects:
            raise SourceNotFoundError(f"{host} redirects more than {_MAX_REDIRECTS} times: give the final URL") from None
        progress.tell("downloaded")
    paths = unpack(archive, files)
    archive.unlink()
    return files, paths


def _parse(text: str) -> httpx2.URL:
    try:
        return httpx2.URL(text)
    except httpx2.InvalidURL:
        raise SourceNotFoundError("source.http.url is no valid URL") from None


def _client(allowed: frozenset[str], progress: Progress, target: Path) -> httpx2.Client:
    def note_length(response: httpx2.Response) -> None:
        stated = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
        if response.is_success and stated.isdecimal():
            progress.expect(int(stated))
            require_space(target, int(stated) - progress.bytes_, "to download the archive")

    return httpx2.Client(
        transport=PublicTransport(allowed),
        event_hooks={"response": [note_length]},
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=30.0,
        trust_env=False,
    )


def _refusal(host: str, status: int) -> SourceNotFoundError | UnavailableError:
    if 400 <= status < 500 and status not in (408, 429):
        return SourceNotFoundError(
            f"{host} answers HTTP {status} for source.http.url: check the path; the URL must be readable without credentials"
        )
    return UnavailableError(f"{host} answers HTTP {status}: it is tried again and goes on where it broke")
