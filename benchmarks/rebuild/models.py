"""The models of the two generations, prepared once as an init container prepares them."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedding_serving.contract.model import DirectorySource
from embedding_serving.contract.settings import PrepareSettings, to_env
from fixtures.models import derived_minilm, minilm_directory, tiny_model

from ..search.cache import cache_dir

BLUE = "tiny-blue"
SOURCES: dict[str, Callable[[Path], Path]] = {
    BLUE: lambda folder: tiny_model(folder, seed=1),
    "tiny": lambda folder: tiny_model(folder, seed=2),
    "minilm-1": lambda folder: derived_minilm(folder, layers=1),
    "minilm": lambda _folder: minilm_directory(),
}
"""By name: random ones of 32 dimensions, MiniLM's first layer, all six of them."""
GREENS = tuple(name for name in SOURCES if name != BLUE)


@dataclass(frozen=True)
class Prepared:
    name: str
    weights: Path
    revision: str
    fingerprint: str


def prepared(name: str) -> Prepared:
    """Seconds, and nothing where the cache has it."""
    weights = cache_dir("rebuild", name)
    revision = hashlib.sha256(name.encode()).hexdigest()[:8]
    record = weights / "revisions" / f"{revision}.json"
    if not record.exists():
        _prepare(name, weights, revision)
    return Prepared(name, weights, revision, json.loads(record.read_text())["fingerprint"])


def _prepare(name: str, weights: Path, revision: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-model-") as work:
        settings = PrepareSettings(
            revision=revision,
            weights_dir=str(weights),
            termination_path=str(Path(work) / "report"),
            source=DirectorySource(path=str(SOURCES[name](Path(work) / "model"))),
            log_level="WARNING",
        )
        command = [sys.executable, "-m", "embedding_serving", "prepare"]
        subprocess.run(command, env={**os.environ, **to_env(settings)}, check=True)
