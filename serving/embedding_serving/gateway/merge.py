"""The best of several lists of hits."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RRF_CONSTANT = 60
"""Cormack, Clarke, Buettcher: Reciprocal rank fusion outperforms Condorcet and individual rank learning methods (2009)."""


class Ranked(NamedTuple):
    """Hits of one query, best first. source: index of the reply that holds the row; score: larger is better."""

    source: int
    row: int
    score: float


def best(lists: Sequence[tuple[int, NDArray[np.int64], NDArray[np.float32]]], k: int) -> list[Ranked]:
    """lists: (source, rows int64 [m], scores float32 [m]) of one query each, -1 pads. Ties go to the earlier source."""
    if len(lists) == 1:
        source, rows, scores = lists[0]
        pairs = zip(rows[:k].tolist(), scores[:k].tolist(), strict=True)
        return [Ranked(source, row, score) for row, score in pairs if row >= 0]
    all_rows = np.concatenate([rows for _, rows, _ in lists])
    all_scores = np.concatenate([scores for _, _, scores in lists])
    sources = np.repeat(np.array([source for source, _, _ in lists]), [len(rows) for _, rows, _ in lists])
    order = np.argsort(np.where(all_rows >= 0, -all_scores, np.inf), kind="stable")[:k]
    picked = zip(sources[order].tolist(), all_rows[order].tolist(), all_scores[order].tolist(), strict=True)
    return [Ranked(*one) for one in picked if one[1] >= 0]


def fused(lists: Sequence[Sequence[Ranked]], k: int) -> list[Ranked]:
    """Reciprocal rank fusion: a hit's score is the sum of 1 / (60 + rank) over the lists that it is in."""
    scores: dict[tuple[int, int], float] = {}
    for ranking in lists:
        for rank, hit in enumerate(ranking, 1):
            key = (hit.source, hit.row)
            scores[key] = scores.get(key, 0.0) + 1 / (RRF_CONSTANT + rank)
    ordered = sorted(scores.items(), key=lambda one: -one[1])[:k]
    return [Ranked(source, row, score) for (source, row), score in ordered]
