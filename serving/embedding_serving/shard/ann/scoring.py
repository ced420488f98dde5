"""Exact scores over the vectors where they lie, and the best of them. Nothing is copied, and the GIL is free meanwhile."""

from typing import Any

import faiss
import numpy as np

from ...contract.index import Distance
from .arrays import Scores, Slots, Vectors

_native: Any = faiss  # the stubs leave out the functions on plain pointers

WORST = np.float32(-np.inf)


def score_slots(query: Vectors, vectors: Vectors, slots: Slots, distance: Distance) -> Scores:
    """float32 [len(slots)]: score of one query (float32 [dimensions]) with the vectors in these slots. Larger is nearer."""
    scores = np.empty(len(slots), dtype=np.float32)
    if not len(slots):
        return scores
    score = _native.fvec_L2sqr_by_idx if distance is Distance.EUCLIDEAN else _native.fvec_inner_products_by_idx
    pointer = _native.swig_ptr
    score(pointer(scores), pointer(query), pointer(vectors), pointer(slots), vectors.shape[1], 1, len(slots))
    return np.negative(scores, out=scores) if distance is Distance.EUCLIDEAN else scores


def score_range(query: Vectors, vectors: Vectors, start: int, end: int, distance: Distance) -> Scores:
    """float32 [end - start]: as `score_slots` for the slots from `start` to `end`, in half the time a row."""
    scores = np.empty(end - start, dtype=np.float32)
    if end <= start:
        return scores
    score = _native.fvec_L2sqr_ny if distance is Distance.EUCLIDEAN else _native.fvec_inner_products_ny
    pointer = _native.swig_ptr
    score(pointer(scores), pointer(query), pointer(vectors[start:end]), vectors.shape[1], end - start)
    return np.negative(scores, out=scores) if distance is Distance.EUCLIDEAN else scores


def best(slots: Slots, scores: Scores, k: int) -> tuple[Slots, Scores]:
    """The k largest scores with their slots, best first; of equal scores the lower slot (the older row) first."""
    if len(scores) > k:
        chosen = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
        slots, scores = slots[chosen], scores[chosen]
    order = np.lexsort((slots, -scores))
    return slots[order], scores[order]


def one_thread() -> None:
    """FAISS's OpenMP setting belongs to the calling thread: a team of threads for one query costs more than the query."""
    faiss.omp_set_num_threads(1)
