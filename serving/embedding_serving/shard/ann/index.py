"""The approximate index of a shard: a cache over the store, in one directory that may be lost at any time."""

import logging
import random
import threading
from pathlib import Path

import numpy as np

from ...contract.admin import IndexState
from ...contract.index import Distance, IndexOptions, IndexType
from . import plan
from .arrays import Rows, Scores, Slots, Vectors, as_rows, as_vectors
from .cache import Cache
from .errors import DamagedCacheError
from .files import Manifest, sweep
from .limits import Limits
from .loading import load_engine, read_trusted_manifest
from .recall import AT, RecentQueries, RunningRecall
from .scoring import one_thread
from .search import Planner
from .selection import Selections
from .slots import SlotFile
from .source import VectorSource
from .upkeep import Upkeep

logger = logging.getLogger(__name__)
_FLOAT_BYTES = 4
_ROW_BYTES = 8


class VectorIndex:
    """Call `load` first. `apply` is for one thread, the others for any; a search never waits for a build or a snapshot."""

    def __init__(
        self,
        directory: Path,
        dimensions: int,
        distance: Distance,
        options: IndexOptions,
        source: VectorSource,
        *,
        threads: int = 1,
        identity: str = "",
        limits: Limits | None = None,
    ) -> None:
        """threads: of a build; searches use the caller's alone.

        identity: of the store's row numbers (its history); files of another are not used. Raises
        UnsupportedIndexTypeError.
        """
        plan.check(options)
        self._directory = directory
        self._dimensions = dimensions
        self._distance = distance
        self._options = options
        self._source = source
        self._threads = threads
        self._identity = identity
        self._limits = limits or Limits()
        self._recent = RecentQueries(dimensions)
        self._recall = RunningRecall()
        self._selections = Selections()
        self._sampled = -1
        self._sampling = threading.Lock()
        self._cache: Cache | None = None
        self._upkeep: Upkeep | None = None

    def load(self) -> None:
        """Takes what is intact of the last snapshot and the rest from the source; returns when searches see all of it.

        What is damaged is logged and made again: vectors from the source now, an index in the background while searches
        scan. Raises what the source raises.
        """
        one_thread()
        self._make_directory()
        manifest = self._trusted_manifest()
        cache = self._restore(manifest) if manifest else None
        if cache is None:
            manifest = None
            cache = self._empty()
        self._read_on(cache)
        upkeep = Upkeep(
            self._directory,
            self._dimensions,
            self._distance,
            self._identity,
            cache,
            self._options,
            self._limits,
            self._threads,
            self._recent,
            self._recall.clear,
            manifest=manifest,
        )
        if manifest and manifest.engine:
            try:
                cache.install(*load_engine(self._directory, manifest.engine, self._dimensions))
                upkeep.engine_files = manifest.engine
            except DamagedCacheError as error:
                logger.error("the index is damaged and is built anew", extra={"found": str(error)})
        self._cache, self._upkeep = cache, upkeep
        upkeep.start()

    def apply(self, added_rows: Rows, added: Vectors, removed_rows: Rows) -> None:
        """One commit of the store. Rows ascending; a search that starts after the return sees it, and none sees half.

        added_rows int64 [n], added float32 [n, dimensions], removed_rows int64 [m] in any order, unknown ones ignored.
        Raises ValueError where shapes don't fit.
        """
        rows, vectors = as_rows(added_rows), as_vectors(added, self._dimensions)
        if len(rows) != len(vectors):
            raise ValueError(f"{len(rows)} rows with {len(vectors)} vectors")
        one_thread()
        self._loaded.apply(rows, vectors, as_rows(removed_rows))

    def search(self, queries: Vectors, k: int, rows: Rows | None = None, *, exact: bool = False) -> tuple[Rows, Scores]:
        """The k nearest live rows of each query, best first, of equal scores the older first.

        queries float32 [n, dimensions]; rows: the only ones allowed (int64, ascending), or None; exact: every one of them is
        compared. Returns int64 [n, k] row numbers, -1 where there are no more, and float32 [n, k] scores (inner product, or
        minus squared L2), -inf there. Raises ValueError where shapes don't fit.
        """
        vectors = as_vectors(queries, self._dimensions)
        if k < 1:
            raise ValueError("k must be at least 1")
        if rows is None and not exact:
            self._recent.add(vectors)
        view = self._loaded.view
        allowed = None if rows is None else self._selections.of(as_rows(rows), view.slots)
        return Planner(view, self._distance, self._limits).search(vectors, k, allowed, exact=exact)

    def configure(self, options: IndexOptions) -> None:
        """Serves with the index at hand until that of the new options is built. Raises UnsupportedIndexTypeError."""
        plan.check(options)
        self._options = options
        if self._upkeep:
            self._upkeep.configure(options)

    def sample_recall(self) -> float | None:
        """Answers the newest query, or a stored vector, exactly too and adds to the running recall; None without a new one.

        An exact scan: 6 ms at 100k rows, 60 ms a million, at most once a query. For a thread that isn't in a hurry.
        """
        newest = self._recent.newest() or self._stored()
        with self._sampling:
            if newest is None or newest[0] == self._sampled:
                return None
            self._sampled = newest[0]
        planner = Planner(self._loaded.view, self._distance, self._limits)
        share = planner.recall(newest[1], AT)
        if share is not None:
            self._recall.add(share)
        return share

    def _stored(self) -> tuple[int, Vectors] | None:
        """Before the first query: a vector of its own stands for one. It finds itself, so the recall is a little high."""
        slots = self._loaded.view.slots
        if not slots.count:
            return None
        number = random.randrange(slots.count)  # noqa: S311 - a sample
        return -1 - number, slots.vectors[[number]].copy()

    def state(self) -> IndexState:
        view = self._loaded.view
        main = view.main if view.slots.live > self._limits.exact_rows else None
        files = self._upkeep.engine_files if self._upkeep else None
        return IndexState(
            type=main.spec.type if main else IndexType.FLAT,
            covered=self._loaded.covered,
            depth=main.depths.at(AT)[0] if main else 0,
            recall=self._recall.mean(),
            building=self._upkeep.building if self._upkeep else None,
            dead_rows=view.slots.dead,
            bytes=view.slots.count * (self._dimensions * _FLOAT_BYTES + _ROW_BYTES) + (files.main.length if files else 0),
        )

    def close(self) -> None:
        """Leaves a snapshot and ends the background. May be called again."""
        if self._upkeep:
            self._upkeep.stop()
            self._upkeep = None
        if self._cache:
            self._cache.close()

    @property
    def _loaded(self) -> Cache:
        if self._cache is None:
            raise RuntimeError("load() comes first")
        return self._cache

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            logger.error("the index cache has no directory", extra={"error": str(error)})

    def _trusted_manifest(self) -> Manifest | None:
        try:
            return read_trusted_manifest(self._directory, self._dimensions, self._distance, self._identity)
        except DamagedCacheError as error:
            logger.error("the index cache is damaged and is built anew", extra={"found": str(error)})
            return None

    def _restore(self, manifest: Manifest) -> Cache | None:
        """The snapshot's slots with the deaths that the source tells; None where it tells of rows that they lack."""
        live = self._source.live_rows(0)
        live = live[: int(np.searchsorted(live, manifest.covered, side="right"))]
        slots = SlotFile(self._directory, manifest.number, self._dimensions, self._limits, count=manifest.count)
        view = slots.view()
        places: Slots = np.searchsorted(view.rows[: view.count], live)
        known = places[places < view.count]
        if len(known) != len(live) or not np.array_equal(view.rows[known], live):
            logger.error("the index cache lacks rows of the store and is built anew", extra={"covered": manifest.covered})
            slots.close()
            return None
        dead = np.ones(view.count, dtype=np.bool_)
        dead[places] = False
        slots.set_dead(np.flatnonzero(dead))
        return Cache(slots, self._limits)

    def _empty(self) -> Cache:
        sweep(self._directory, keep=set())
        return Cache(SlotFile(self._directory, 1, self._dimensions, self._limits), self._limits)

    def _read_on(self, cache: Cache) -> None:
        none = np.empty(0, dtype=np.int64)
        while True:
            rows, vectors = self._source.vectors(cache.view.slots.covered, self._limits.load_rows)
            if not len(rows):
                return
            cache.apply(as_rows(rows), as_vectors(vectors, self._dimensions), none)
