"""Source `huggingFace`: a repository at one commit, on any server that speaks the hub's HTTP API."""

import logging
from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from pydantic import SecretStr

from embedding_serving.contract.model import HubSource

from .disk import require_space
from .download import Expected, Progress, download, http_client
from .errors import PrepareError, SourceNotFoundError, UnavailableError
from .selection import select

log = logging.getLogger(__name__)

_REFUSALS = frozenset({401, 403, 404, 410})


def fetch_from_hub(
    source: HubSource,
    endpoint: str | None,
    token: SecretStr | None,
    target: Path,
    inspect: Callable[[tuple[str, ...]], None],
) -> tuple[str, ...]:
    """Fetches the needed files of the repository into `target`; returns their paths.

    `inspect` may refuse the model once everything but the weights is there.

    Raises SourceNotFoundError, UnavailableError, HashMismatchError, UnsafeWeightsError, UnsupportedModelError; OSError
    from the disk.
    """
    hub = _Hub(source, (endpoint or constants.ENDPOINT).rstrip("/"), token.get_secret_value() if token else None)
    with http_client(hub.client):
        try:
            return hub.fetch(target, inspect)
        except (HfHubHTTPError, httpx2.HTTPError, HFValidationError) as error:
            raise hub.explain(error) from None


class _Hub:
    def __init__(self, source: HubSource, endpoint: str, token: str | None) -> None:
        self._source = source
        self._endpoint = endpoint
        self._token = token
        self._origin = _origin(httpx2.URL(endpoint))

    def client(self) -> httpx2.Client:
        """Follows redirects, and takes the token off every request that leaves the hub's own origin."""
        return httpx2.Client(event_hooks={"request": [self._keep_token_home]}, follow_redirects=True, timeout=30.0)

    def _keep_token_home(self, request: httpx2.Request) -> None:
        if _origin(request.url) != self._origin:
            request.headers.pop("Authorization", None)

    def fetch(self, target: Path, inspect: Callable[[tuple[str, ...]], None]) -> tuple[str, ...]:
        files = self._list()
        chosen = select(files)
        total = sum(files[path].size for path in chosen)
        missing = total - sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        require_space(target, missing, f"to download {self._source.repo}")
        progress = Progress(total)
        weights = [path for path in chosen if path.endswith(".safetensors")]
        for path in chosen:
            if path not in weights:
                self._download(files[path], target, progress)
        inspect(tuple(chosen))
        for path in weights:
            self._download(files[path], target, progress)
        progress.tell("downloaded")
        return tuple(chosen)

    def _download(self, file: RepoFile, target: Path, progress: Progress) -> None:
        expected = Expected(file.size, file.lfs.sha256 if file.lfs else None, None if file.lfs else file.blob_id)
        url = hf_hub_url(self._source.repo, file.path, revision=self._source.revision, endpoint=self._endpoint)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        download(url, target / file.path, expected, headers, progress)

    def _list(self) -> dict[str, RepoFile]:
        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        tree = api.list_repo_tree(self._source.repo, recursive=True, revision=self._source.revision)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def explain(self, error: Exception) -> PrepareError:
        """The refusal in the words of the spec. Never quotes the error, whose text may hold signed URLs."""
        repo, where = self._source.repo, f"at {self._endpoint}"
        if isinstance(error, HFValidationError):
            return SourceNotFoundError(f"{repo!r:.120} is no repository name: use organisation/name")
        if isinstance(error, RevisionNotFoundError):
            return SourceNotFoundError(
                f"repository {repo} {where} has no commit {self._source.revision}: copy the full 40 digits from its history"
            )
        if isinstance(error, GatedRepoError):
            advice = (
                "the token that was sent has no access. Accept the model's terms with its account, or use another token"
                if self._token
                else "no token was sent. Accept the model's terms and give a token in source.huggingFace.tokenSecretRef"
            )
            return SourceNotFoundError(f"repository {repo} {where} is gated: {advice}")
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if isinstance(error, RepositoryNotFoundError) or status in _REFUSALS:
            return SourceNotFoundError(f"repository {repo} was not found {where}, or may not be read{self._advice(status)}")
        reason = f"HTTP {status}" if status else type(error).__name__
        return UnavailableError(
            f"the hub {where} can't be reached or fails ({reason}) while fetching {repo}: it is tried again and goes on where "
            "it broke. Check the endpoint in the chart and the network policy if this lasts"
        )

    def _advice(self, status: int | None) -> str:
        answered = f" (HTTP {status})" if status else ""
        if self._token:
            return f"{answered}. A token was sent: check the repository's name, and that the token is valid and may read it"
        return (
            f"{answered}. No token was sent: check the repository's name; for a private one give a token in "
            "source.huggingFace.tokenSecretRef"
        )


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
