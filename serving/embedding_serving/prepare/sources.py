"""Where a model's files come from, behind one function: fetch(settings, into) -> the directory with the files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedding_serving.contract.model import DirectorySource, HTTPSource, HubSource
from embedding_serving.contract.settings import PrepareSettings

from .directory_source import open_directory
from .fingerprint import canonical_hash
from .layout import ModelFiles


@dataclass(frozen=True)
class Fetched:
    root: Path
    paths: tuple[str, ...]
    """The needed files, relative to `root`."""


def source_key(settings: PrepareSettings) -> str:
    """Name of the work directory: equal for revisions that differ in their options alone, so that they share a download."""
    return canonical_hash([settings.source.model_dump(), settings.hub_endpoint])[:16]


def fetch(settings: PrepareSettings, download: Path, inspect: Callable[[ModelFiles], None]) -> Fetched:
    """Brings the needed files to a local directory. `inspect` may refuse the model before its weights are fetched.

    Raises PrepareError; OSError from a full disk.
    """
    match settings.source:
        case DirectorySource(path=path):
            root = Path(path)
            return Fetched(root, open_directory(root))
        case HubSource() as source:
            from .hub_source import fetch_from_hub

            def look(paths: tuple[str, ...]) -> None:
                inspect(ModelFiles.read(download, paths))

            return Fetched(download, fetch_from_hub(source, settings.hub_endpoint, settings.hub_token, download, look))
        case HTTPSource() as source:
            from .http_source import fetch_archive

            root, paths = fetch_archive(source, settings.http_allowed_hosts, download)
            return Fetched(root, paths)
