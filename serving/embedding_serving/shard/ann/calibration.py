"""How deep an engine must look, measured in the build process against exact answers to sampled queries."""

import math
from dataclasses import dataclass

import faiss
import numpy as np

from ...contract.index import Distance, IndexType
from .arrays import Mask, Places, Scores, Slots, Vectors
from .depths import Depths, Look
from .engines import EngineSpec, FaissEngine, max_effort
from .scoring import score_slots

RANKS = (10, 100, 300, 1000, 5000)
QUERIES = {10: 200, 100: 100, 300: 50, 1000: 24, 5000: 12}
CODE_FLOOR = 100
"""Fewest candidates of an engine of codes: insurance against what the sample did not show. Their vectors lie anywhere."""
VECTOR_FLOOR = 64
HEADROOM = 1.15
TRUTH_ROWS = 65_536
MAX_DEPTH_PER_RANK = 40
MIN_MAX_DEPTH = 10_000
DEEP_GOAL = 0.985
"""Enough for the ranks beyond the first, which filters and long lists of results need; below it they are scanned."""
EQUAL = 1e-5
"""Scores that differ by less, relatively, are of equal vectors."""

# Nanoseconds on a current core at 384 dimensions; only their ratios matter, to choose between more lists and more depth.
_CODE_NS = 1.3
_VECTOR_NS = 30.0
_CANDIDATE_NS = 80.0
_LIST_NS = 400.0
_WALK_NS = 2_000.0
_MISSED_NS = 1e12


@dataclass(frozen=True, slots=True)
class Sample:
    """Queries float32 [n, d]; own int64 [n], the slot that each was taken from, -1 = none; truth float32 [n, ranks], the
    scores of the true nearest, best first."""

    queries: Vectors
    own: Slots
    truth: Scores


def goal_of(target_recall_percent: int) -> float:
    """What the sample must show: a third of the misses that the target allows."""
    return 1 - (1 - min(target_recall_percent, 99.9) / 100) / 3


def sample_truth(vectors: Vectors, alive: Mask, queries: Vectors, own: Slots, distance: Distance) -> Sample:
    """Exact scores of the nearest living slots of each query, its own slot aside. alive: bool [len(vectors)]."""
    living = int(np.count_nonzero(alive))
    ranks = min(RANKS[-1], max(1, living // 2))
    wanted = min(len(vectors), math.ceil((ranks + 1) * len(vectors) / max(1, living) * 1.3))
    metric = faiss.METRIC_L2 if distance is Distance.EUCLIDEAN else faiss.METRIC_INNER_PRODUCT
    kept = np.full((len(queries), 0), -np.inf, dtype=np.float32)
    for start in range(0, len(vectors), TRUTH_ROWS):
        chunk = vectors[start : start + TRUTH_ROWS]
        scores, places = faiss.knn(queries, chunk, min(wanted, len(chunk)), metric)
        slots = places + start
        if distance is Distance.EUCLIDEAN:
            scores = -scores
        scores[(places < 0) | ~alive[np.maximum(slots, 0)] | (slots == own[:, None])] = -np.inf
        kept = np.concatenate([kept, scores], axis=1)
        if kept.shape[1] > ranks:
            kept = -np.partition(-kept, ranks - 1, axis=1)[:, :ranks]
    return Sample(queries, own, -np.sort(-kept, axis=1))


@dataclass(frozen=True, slots=True)
class Trial:
    """An engine and what it is of. alive: bool [len(vectors)]."""

    engine: FaissEngine
    spec: EngineSpec
    vectors: Vectors
    alive: Mask
    distance: Distance


def calibrate(trial: Trial, samples: list[Sample], goal: float) -> Depths:
    """Looks for each rank that the engine can reach, the harder of the samples deciding."""
    looks: list[Look] = []
    for rank in RANKS:
        found = [_look(trial, sample, goal, rank) for sample in samples]
        reached = [look for look in found if look is not None]
        if not reached:
            break
        look = Look(
            rank=rank,
            depth=max(look.depth for look in reached),
            effort=max(look.effort for look in reached),
            recall=min(look.recall for look in reached),
        )
        if looks and look.recall < min(goal, DEEP_GOAL):
            break
        looks.append(look)
    if not looks:
        looks = [Look(rank=1, depth=CODE_FLOOR, effort=max_effort(trial.spec, trial.engine.count), recall=0.0)]
    return Depths(looks=tuple(looks))


def _look(trial: Trial, sample: Sample, goal: float, rank: int) -> Look | None:
    if sample.truth.shape[1] < rank:
        return None
    best: tuple[float, Look] | None = None
    for effort in _efforts(trial.spec, trial.engine.count, rank):
        if best and _cost(trial, effort, 0) > best[0]:
            break
        deepest = _deepest(trial.spec, trial.engine.count, rank, effort)
        found = trial.engine.search(sample.queries[: QUERIES[rank]], deepest, effort).slots
        positions = _positions(trial, sample, found, rank)
        look = _shallowest(positions, goal, Look(rank=rank, depth=deepest, effort=effort, recall=0.0), _floor(trial.spec))
        cost = _cost(trial, effort, look.depth) + (_MISSED_NS * (1 - look.recall) if look.recall < goal else 0.0)
        if best is None or cost < best[0]:
            best = cost, look
    return best[1] if best else None


def _positions(trial: Trial, sample: Sample, found: Slots, rank: int) -> Places:
    """float64 [n * rank]: places, among the living candidates, of those as near as the true `rank`-th; inf where missing.

    By score and not by slot: of equal vectors any will do.
    """
    places = np.full((len(found), rank), np.inf)
    for number, (one, own, query) in enumerate(zip(found, sample.own, sample.queries, strict=False)):
        candidates = one[one >= 0]
        candidates = candidates[trial.alive[candidates] & (candidates != own)]
        scores = score_slots(query, trial.vectors, candidates, trial.distance)
        worst = sample.truth[number, rank - 1]
        hits = np.flatnonzero(scores >= worst - EQUAL * abs(worst))[:rank]
        places[number, : len(hits)] = hits
    return places.ravel()


def _shallowest(positions: Places, goal: float, deepest: Look, floor: int) -> Look:
    ordered = np.sort(positions)
    needed = ordered[math.ceil(goal * len(ordered)) - 1]
    depth = deepest.depth if np.isinf(needed) else min(deepest.depth, math.ceil((needed + 1) * HEADROOM))
    # The floor holds even where the engine has fewer yet: the tail grows.
    depth = max(depth, floor, deepest.rank)
    return deepest.model_copy(update={"depth": depth, "recall": float(np.mean(positions < depth))})


def _efforts(spec: EngineSpec, count: int, rank: int) -> list[int]:
    highest = max_effort(spec, count)
    if spec.type is IndexType.HNSW:
        return [effort for effort in (64, 128, 256, 512, 1024, 2048) if rank <= effort <= highest]
    if not highest:
        return [0]
    steps = [step << power for power in range(1, highest.bit_length()) for step in (2, 3)]
    return [*(step for step in steps if step < highest), highest]


def _deepest(spec: EngineSpec, count: int, rank: int, effort: int) -> int:
    deepest = min(count, max(MIN_MAX_DEPTH, MAX_DEPTH_PER_RANK * rank))
    return min(deepest, effort) if spec.type is IndexType.HNSW else deepest


def _floor(spec: EngineSpec) -> int:
    return CODE_FLOOR if spec.type in (IndexType.PQ_FAST_SCAN, IndexType.IVF_PQ) else VECTOR_FLOOR


def _cost(trial: Trial, effort: int, depth: int) -> float:
    """Nanoseconds, roughly."""
    scale: float = trial.vectors.shape[1] / 384
    rerank = depth * _CANDIDATE_NS * scale
    if trial.spec.type not in (IndexType.IVF_PQ, IndexType.IVF_FLAT):
        return effort * _WALK_NS + rerank
    share = effort / max_effort(trial.spec, trial.engine.count)
    scan = trial.engine.count * share * scale * (_CODE_NS if trial.spec.type is IndexType.IVF_PQ else _VECTOR_NS)
    return scan + effort * _LIST_NS + rerank
