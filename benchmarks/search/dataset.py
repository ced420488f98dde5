"""A set of vectors on disk as every client reads it, with the exact answers that recall is measured against.

Folder: documents.npy, queries.npy (float32, L2-normalised), payloads.ndjson, percentiles.npy, truth-<percent>.npy.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import orjson

from .cache import cache_dir
from .job import K

PERCENTS = (1, 10, 50)
TIE = 1e-5
"""Two documents whose scores differ by less may stand for each other: float32 sums in another order differ as much."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """`worst[percent]`: float32 [queries], the true K-th score among the documents that pass; None = all documents."""

    name: str
    folder: Path
    documents: Floats
    queries: Floats
    percentiles: npt.NDArray[np.int64]
    worst: dict[int | None, Floats]
    fingerprint: str

    def payloads(self) -> list[dict[str, Any]]:
        with (self.folder / "payloads.ndjson").open("rb") as file:
            return [orjson.loads(line) for line in file]

    def recall(self, answers: npt.NDArray[np.int64], percent: int | None) -> float:
        """Recall@K over the queries that were answered. answers: int64 [queries, K], -1 = none."""
        asked = np.flatnonzero((answers >= 0).any(axis=1))
        if not len(asked):
            return float("nan")
        right = sum(self._right(int(query), answers[query], percent) for query in asked)
        return right / (K * len(asked))

    def _right(self, query: int, answer: npt.NDArray[np.int64], percent: int | None) -> int:
        found = np.unique(answer[answer >= 0])
        if percent is not None:
            found = found[self.percentiles[found] < percent]
        scores = self.documents[found] @ self.queries[query]
        return int((scores >= self.worst[percent][query] - TIE).sum())


def dataset(
    name: str, documents: Floats, queries: Floats, payloads: Iterable[tuple[str, dict[str, Any]]], fingerprint: str
) -> Dataset:
    """The set of that name, written where the cache has it not. payloads: (text, metadata) of each document."""
    folder = cache_dir("data") / name
    if not folder.exists():
        partial = folder.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write(partial, documents, queries, payloads)
        partial.rename(folder)
    return Dataset(
        name,
        folder,
        np.load(folder / "documents.npy", mmap_mode="r", allow_pickle=False),
        np.load(folder / "queries.npy", allow_pickle=False),
        np.load(folder / "percentiles.npy", allow_pickle=False),
        {percent: np.load(folder / f"truth-{percent or 100}.npy", allow_pickle=False) for percent in (None, *PERCENTS)},
        fingerprint,
    )


def _write(folder: Path, documents: Floats, queries: Floats, payloads: Iterable[tuple[str, dict[str, Any]]]) -> None:
    percentiles = np.random.default_rng(7).integers(0, 100, len(documents))
    np.save(folder / "documents.npy", documents, allow_pickle=False)
    np.save(folder / "queries.npy", queries, allow_pickle=False)
    np.save(folder / "percentiles.npy", percentiles, allow_pickle=False)
    with (folder / "payloads.ndjson").open("wb") as out:
        for (text, metadata), percentile in zip(payloads, percentiles, strict=True):
            out.write(orjson.dumps({"text": text, "metadata": {**metadata, "percentile": int(percentile)}}) + b"\n")
    for percent in (None, *PERCENTS):
        passing = documents if percent is None else documents[percentiles < percent]
        np.save(folder / f"truth-{percent or 100}.npy", _worst_scores(passing, queries), allow_pickle=False)


def _worst_scores(documents: Floats, queries: Floats) -> Floats:
    best = nearest(documents, queries, K)
    return np.ascontiguousarray(best[:, -1])


def nearest(documents: Floats, queries: Floats, k: int, block: int = 65_536) -> Floats:
    """The k best inner products of each query, exactly, best first: float32 [queries, k]."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(documents), block):
        part = np.ascontiguousarray(documents[start : start + block], np.float32)
        scores, _ = faiss.knn(queries, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :k]
    return best


def local_intrinsic_dimension(documents: Floats, queries: Floats, neighbours: int = 100) -> float:
    """Maximum-likelihood estimate (Levina and Bickel 2004, averaged as MacKay and Ghahramani propose) at the queries."""
    cosines = nearest(documents, queries, neighbours).astype(np.float64)
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 1e-12))
    ratios = np.log(distances[:, -1:] / distances[:, :-1])
    return float(1 / np.mean(ratios))


def subset(payloads: Sequence[tuple[str, dict[str, Any]]], count: int) -> Iterable[tuple[str, dict[str, Any]]]:
    """`count` payloads, over again where there are fewer."""
    return (payloads[number % len(payloads)] for number in range(count))
