"""The planner: candidates -> live -> allowed -> exact scores -> top k, or an exact scan where that is as fast or surer.

An engine that selects is told what a filter allows. Elsewhere, and for dead rows, only a share s of the candidates may be
answered with, and the k-th answer lies at rank k / s of all: the engines are asked for that rank. The share is first taken
as that of the whole index; where fewer candidates survive, because what is allowed lies far from this query, the share seen
among them is used next, and in the end the allowed rows are scanned. So k answers come whenever k rows match.
"""

from dataclasses import dataclass

import numpy as np

from ...contract.index import Distance, IndexType
from .arrays import NO_ROW, Rows, Scores, Slots, Vectors
from .engines import Candidates
from .limits import Limits
from .scoring import WORST, best, one_thread, score_range, score_slots
from .selection import Selection
from .view import Main, Tail, View

QUERIES_AT_ONCE = 16
"""Queries that share a scan of the codes; more would hold the tail's gate for long."""
SCAN_ROWS = 65_536
UNEVEN = 0.5
"""What is allowed is seldom spread evenly: the rarer it is, the deeper the first look goes beyond what the share says."""
FARTHER = 2
"""How much deeper an engine that selects looks: what is allowed may lie where many are about as near."""
SELECTED_FLOOR = 400
"""Fewest candidates that it is asked for then: the queries that it was measured with had no filter."""
TOLERANCE = 1.2
"""How much rarer than the look was made for survivors may be before the engines are asked again."""
MAX_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to one query, best first."""

    slots: Slots
    scores: Scores


@dataclass(frozen=True, slots=True)
class Planner:
    """Answers queries from one view."""

    view: View
    distance: Distance
    limits: Limits

    def search(self, queries: Vectors, k: int, allowed: Selection | None, *, exact: bool = False) -> tuple[Rows, Scores]:
        """int64 [n, k] row numbers (-1 = none), float32 [n, k] scores (-inf = none)."""
        one_thread()
        rows = np.full((len(queries), k), NO_ROW, dtype=np.int64)
        scores = np.full((len(queries), k), WORST, dtype=np.float32)
        answers = [self._everything(query, k, allowed) for query in queries] if exact else self._answers(queries, k, allowed)
        for number, found in enumerate(answers):
            rows[number, : len(found.slots)] = self.view.slots.rows[found.slots]
            scores[number, : len(found.scores)] = found.scores
        return rows, scores

    def recall(self, query: Vectors, k: int) -> float | None:
        """Share of the true k nearest of one query (float32 [1, dimensions]) among its answers; None without rows.

        By score and not by row: of equal vectors any will do.
        """
        one_thread()
        true = self._scan_live(query[0], k).scores
        if not len(true):
            return None
        found = self._answers(query, k, None)[0].scores
        return float(np.count_nonzero(found >= true[-1] - 1e-5 * abs(true[-1]))) / len(true)

    def _answers(self, queries: Vectors, k: int, allowed: Selection | None) -> list[Found]:
        view = self.view
        small = view.main is None or view.slots.live <= self.limits.exact_rows
        if allowed is not None and (small or len(allowed.rows) <= self.limits.exact_filter_rows):
            slots = view.slots.alive(allowed.slots())
            return [self._scan(query, slots, k) for query in queries]
        if view.main is None or small:
            return [self._scan_live(query, k) for query in queries]
        answers: list[Found] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            answers += self._approximate(queries[start : start + QUERIES_AT_ONCE], k, allowed, view.main)
        return answers

    def _scan(self, query: Vectors, slots: Slots, k: int) -> Found:
        return Found(*best(slots, score_slots(query, self.view.slots.vectors, slots, self.distance), k))

    def _scan_live(self, query: Vectors, k: int) -> Found:
        slots = self.view.slots
        if slots.dead > slots.live:
            return self._scan(query, np.flatnonzero(slots.alive_between(0, slots.count)), k)
        starts = range(0, slots.count, SCAN_ROWS)
        return _merge([self._scan_range(query, start, min(start + SCAN_ROWS, slots.count), k, None) for start in starts], k)

    def _scan_range(self, query: Vectors, start: int, end: int, k: int, allowed: Selection | None) -> Found:
        slots = self.view.slots
        scores = score_range(query, slots.vectors, start, end, self.distance)
        alive = slots.alive_between(start, end)
        if allowed is not None:
            alive &= allowed.mask[start:end]
        places = np.flatnonzero(alive)
        return Found(*best(places + start, scores[places], k))

    def _approximate(self, queries: Vectors, k: int, allowed: Selection | None, main: Main) -> list[Found]:
        if allowed is not None and main.engine.selects:
            return self._selected(queries, k, allowed, main)
        rows = self.view.slots.live if allowed is None else len(allowed.rows)
        share = min(1.0, rows / self.view.slots.count)
        ranks = np.full(len(queries), k / share * (1 + UNEVEN * (1 - share)))
        answers: list[Found | None] = [None] * len(queries)
        for _ in range(MAX_ROUNDS):
            waiting = [n for n, answer in enumerate(answers) if answer is None and ranks[n] <= main.depths.max_rank]
            if not waiting:
                break
            rank = float(ranks[waiting].max())
            if main.depths.at(rank)[0] >= rows:
                break  # As many candidates as there are rows to scan.
            candidates = self._candidates(queries[waiting], rank, main)
            for number, slots in zip(waiting, candidates, strict=True):
                fetched = int(np.count_nonzero(slots >= 0))
                kept = self._allowed(slots[slots >= 0], allowed)
                seen = len(kept) / max(1, fetched)
                if seen * rank * TOLERANCE >= k and len(kept) >= k:
                    answers[number] = self._answer(queries[number], kept, k, allowed)
                else:
                    ranks[number] = max(k / seen, rank * TOLERANCE) if seen else np.inf
        return [answer or self._everything(queries[n], k, allowed) for n, answer in enumerate(answers)]

    def _everything(self, query: Vectors, k: int, allowed: Selection | None) -> Found:
        return self._scan_live(query, k) if allowed is None else self._scan(query, self.view.slots.alive(allowed.slots()), k)

    def _answer(self, query: Vectors, candidates: Slots, k: int, allowed: Selection | None) -> Found:
        found = self._scan(query, candidates, k)
        if self.view.folded == self.view.slots.count:
            return found
        return _merge([found, self._scan_range(query, self.view.folded, self.view.slots.count, k, allowed)], k)

    def _selected(self, queries: Vectors, k: int, allowed: Selection, main: Main) -> list[Found]:
        """By an engine that looks at allowed slots alone."""
        slots = self.view.slots
        rank = k * slots.count / max(1, slots.live)
        if rank > main.depths.max_rank:
            return [self._everything(query, k, allowed) for query in queries]
        depth, effort = main.depths.at(rank)
        depth = max(FARTHER * depth, SELECTED_FLOOR)
        found = main.engine.search(queries, depth, effort, allowed.bits(0, main.count)).slots
        answers: list[Found] = []
        for query, candidates in zip(queries, found, strict=True):
            kept = slots.alive(candidates[candidates >= 0])
            if len(kept) < k and candidates[-1] >= 0:  # the dead have taken the places of the living
                answers.append(self._everything(query, k, allowed))
                continue
            appended = slots.alive(self._appended(query, k, allowed))
            answers.append(self._answer(query, np.concatenate([kept, appended]), k, allowed))
        return answers

    def _appended(self, query: Vectors, k: int, allowed: Selection) -> Slots:
        """Allowed slots of the tail, the nearest of them surely; the tail cannot be told what a filter allows."""
        tail = self.view.tail
        if tail is None or self.view.folded <= tail.first:
            return np.empty(0, dtype=np.int64)
        every = np.flatnonzero(allowed.mask[tail.first : self.view.folded]) + tail.first
        share = len(every) / (self.view.folded - tail.first)
        rank = k / share * (1 + UNEVEN * (1 - share)) if share else np.inf
        if len(every) <= self.limits.exact_tail_rows or rank > tail.depths.max_rank:
            return every
        found = self._tail_candidates(tail, query[None], rank).slots[0]
        found = found[found >= 0]
        kept = allowed.among(found)
        return kept if len(kept) >= k and len(kept) / len(found) * rank * TOLERANCE >= k else every

    def _candidates(self, queries: Vectors, rank: float, main: Main) -> Slots:
        """int64 [n, any]: slots in no order, -1 = none."""
        depth, effort = main.depths.at(rank)
        found = main.engine.search(queries, depth, effort)
        tail = self.view.tail
        if tail is None or self.view.folded <= tail.first:
            return found.slots
        appended = self._tail_candidates(tail, queries, rank)
        slots = np.concatenate([found.slots, appended.slots], axis=1)
        # By the same codes: what is far in either need not be scored.
        depth = -(-depth * self.view.folded // main.count)
        if main.spec.type is not IndexType.PQ_FAST_SCAN or slots.shape[1] <= depth:
            return slots
        nearness = np.concatenate([found.nearness, appended.nearness], axis=1)
        nearness[slots < 0] = WORST
        nearest = np.argpartition(nearness, -depth, axis=1)[:, -depth:]
        return np.take_along_axis(slots, nearest, axis=1)

    def _tail_candidates(self, tail: Tail, queries: Vectors, rank: float) -> Candidates:
        depth, _ = tail.depths.at(min(rank, tail.depths.max_rank))
        with tail.gate.shared():
            found = tail.engine.search(queries, depth, 0)
        # What was folded in since this view began is in its delta.
        limit = self.view.folded - tail.first
        found.slots[found.slots >= limit] = -1
        found.slots[found.slots >= 0] += tail.first
        return found

    def _allowed(self, slots: Slots, allowed: Selection | None) -> Slots:
        alive = self.view.slots.alive(slots)
        return alive if allowed is None else allowed.among(alive)


def _merge(parts: list[Found], k: int) -> Found:
    slots = np.concatenate([part.slots for part in parts]) if parts else np.empty(0, dtype=np.int64)
    scores = np.concatenate([part.scores for part in parts]) if parts else np.empty(0, dtype=np.float32)
    return Found(*best(slots, scores, k))
