"""Engines of approximate search behind one protocol: they answer with slots, and know nothing of rows, deaths or filters.

An engine is trained and filled once, in the build process, and read-only from then on; only the tail is appended to.
What it finds are candidates: scores are computed again from the vectors.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import faiss
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...contract.index import Distance, IndexOptions, IndexType
from ...contract.model import Frozen
from .arrays import Scores, Slots, Vectors

_native: Any = faiss  # the stubs know neither search parameters nor what a factory returns

PQ_BITS = 4
DEFAULT_LINKS = 32
DEFAULT_EF_CONSTRUCTION = 200
TRAINING_ROWS = 65_536
ROWS_PER_LIST = 64
KMEANS_ITERATIONS = 8
MAX_LISTS = 65_536
KMEANS_MIN_ROWS = 16


class EngineSpec(Frozen):
    """What an engine is made as. Equal specs need no new build; what is derived from the row count is not in it."""

    type: IndexType
    lists: int | None = Field(default=None, ge=1)
    links: int | None = Field(default=None, ge=2)
    ef_construction: int | None = Field(default=None, ge=8)
    subquantizers: int | None = Field(default=None, ge=1)

    @classmethod
    def of(cls, type_: IndexType, options: IndexOptions) -> Self:
        """Only the options that the type has."""
        lists = type_ in (IndexType.IVF_FLAT, IndexType.IVF_PQ)
        links = type_ is IndexType.HNSW
        codes = type_ in (IndexType.IVF_PQ, IndexType.PQ_FAST_SCAN)
        return cls(
            type=type_,
            lists=options.lists if lists else None,
            links=options.m if links else None,
            ef_construction=options.ef_construction if links else None,
            subquantizers=options.subquantizers if codes else None,
        )


class Candidates(NamedTuple):
    """slots int64 [n, depth], nearest first as far as the engine can tell, -1 where it found no more; nearness float32
    [n, depth], larger is nearer, comparable between engines of the same codes."""

    slots: Slots
    nearness: Scores


class Engine(Protocol):
    """Slots are numbered by the order of `add`, from 0."""

    def add(self, vectors: Vectors) -> None:
        """float32 [n, dimensions]."""

    def search(self, queries: Vectors, depth: int, effort: int, allowed: NDArray[np.uint8] | None = None) -> Candidates:
        """`effort`: lists to probe, or breadth of the walk through the graph; 0 where the engine knows no such thing.

        allowed: a bit a slot, of those that count; only where it `selects`.
        """

    @property
    def selects(self) -> bool:
        """Whether it looks at every slot, so that it can be told which of them count and finds the nearest of these."""

    @property
    def count(self) -> int:
        """Vectors in it."""


class FaissEngine:
    """Vectors whose length the codes don't divide are padded with zeros, which changes no distance."""

    def __init__(self, index: Any, dimensions: int) -> None:
        self._index = index
        self._dimensions = dimensions
        self._graph = isinstance(index, faiss.IndexHNSW)
        self._inverted = isinstance(index, faiss.IndexIVF)
        self._selects = isinstance(index, faiss.IndexIVFPQFastScan) and index.nlist == 1 and not index.by_residual
        self._larger_is_nearer = index.metric_type == faiss.METRIC_INNER_PRODUCT
        self._unselected = index

    @classmethod
    def load(cls, path: Path, dimensions: int) -> Self:
        """Of a file whose checksum was verified. Full vectors stay in the page cache and are not copied to the heap."""
        engine = cls(_native.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), dimensions)
        if engine.selects and engine.count:
            engine._unselected = _flat_twin(engine._index)
        return engine

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def selects(self) -> bool:
        return self._selects

    def train(self, sample: Vectors) -> None:
        self._index.train(self._padded(sample))

    def add(self, vectors: Vectors) -> None:
        self._index.add(self._padded(vectors))

    def blank(self) -> "FaissEngine":
        """Trained alike and empty."""
        index = faiss.clone_index(self._index)
        index.reset()
        return FaissEngine(index, self._dimensions)

    def appendable(self) -> "FaissEngine":
        """An empty one of the same codes that can `take`: FAISS's lists of codes cannot be appended to safely."""
        return FaissEngine(_flat_blank(self._index), self._dimensions)

    def take(self, other: "FaissEngine") -> None:
        """Appends what `other`, made by `blank` of this one, holds; it is empty afterwards. A tenth of the cost of `add`."""
        self._index.merge_from(other._index, 0)

    def search(self, queries: Vectors, depth: int, effort: int, allowed: NDArray[np.uint8] | None = None) -> Candidates:
        wanted = min(depth, self.count)
        if not wanted:
            return Candidates(np.full((len(queries), 0), -1, np.int64), np.empty((len(queries), 0), np.float32))
        if allowed is None and self._unselected is not self._index:
            distances, found = self._unselected.search(self._padded(queries), wanted)
        else:
            parameters = self._parameters(wanted, effort, allowed)
            distances, found = self._index.search(self._padded(queries), wanted, **parameters)
        return Candidates(found, distances if self._larger_is_nearer else np.negative(distances, out=distances))

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def _parameters(self, depth: int, effort: int, allowed: NDArray[np.uint8] | None) -> dict[str, Any]:
        # A parameters object belongs to one call: FAISS writes to it. Flat fast-scan takes none at all.
        if self._inverted:
            chosen = {} if allowed is None else {"sel": _native.IDSelectorBitmap(allowed)}
            return {"params": _native.SearchParametersIVF(nprobe=max(1, effort), **chosen)}
        if self._graph:
            return {"params": _native.SearchParametersHNSW(efSearch=max(depth, effort))}
        return {}

    def _padded(self, vectors: Vectors) -> Vectors:
        missing = self._index.d - self._dimensions
        if not missing:
            return np.ascontiguousarray(vectors)
        return np.pad(vectors, ((0, 0), (0, missing)))


def _flat_blank(index: Any) -> Any:
    """FAISS's flat index of the same codes as a one-list index, empty."""
    flat: Any = faiss.IndexPQFastScan(index.d, index.pq.M, PQ_BITS, index.metric_type)
    flat.pq, flat.is_trained = index.pq, True
    return flat


def _flat_twin(index: Any) -> Any:
    """With the codes too, which lie in one list as in a flat index, and are scanned in two thirds of the time there."""
    flat, size = _flat_blank(index), index.invlists.list_size(0)
    blocks = -(-size // index.bbs)
    codes = faiss.rev_swig_ptr(index.invlists.get_codes(0), blocks * index.bbs * index.M2 // 2)
    _native.copy_array_to_AlignedTable(codes, flat.codes)
    flat.ntotal, flat.ntotal2 = size, blocks * index.bbs
    return flat


def make(spec: EngineSpec, dimensions: int, distance: Distance, rows: int) -> FaissEngine:
    """An untrained engine for about so many rows."""
    metric = faiss.METRIC_INNER_PRODUCT if distance is Distance.DOT else faiss.METRIC_L2
    index: Any
    match spec.type:
        case IndexType.PQ_FAST_SCAN:
            # One list of all codes: FAISS's flat index of them can't be told what a filter allows.
            parts, padded = _codes(spec, dimensions)
            index = faiss.index_factory(padded, f"IVF1,PQ{parts}x{PQ_BITS}fs", metric)
            index.by_residual = False
        case IndexType.IVF_PQ:
            parts, padded = _codes(spec, dimensions)
            index = faiss.index_factory(padded, f"IVF{_lists(spec, rows)},PQ{parts}x{PQ_BITS}fs", metric)
        case IndexType.IVF_FLAT:
            index = faiss.index_factory(dimensions, f"IVF{_lists(spec, rows)},Flat", metric)
        case IndexType.HNSW:
            index = faiss.index_factory(dimensions, f"HNSW{spec.links or DEFAULT_LINKS},Flat", metric)
            index.hnsw.efConstruction = spec.ef_construction or DEFAULT_EF_CONSTRUCTION
        case _:
            raise ValueError(f"{spec.type} has no engine")
    if isinstance(index, faiss.IndexIVF):
        index.cp.niter = KMEANS_ITERATIONS
    return FaissEngine(index, dimensions)


def training_rows(spec: EngineSpec, rows: int) -> int:
    """Rows that training needs; more would change nothing that can be measured."""
    return max(TRAINING_ROWS, ROWS_PER_LIST * _lists(spec, rows) if spec.type in (IndexType.IVF_PQ, IndexType.IVF_FLAT) else 0)


def max_effort(spec: EngineSpec, rows: int) -> int:
    """All lists, or a walk through the graph that an exact scan overtakes."""
    if spec.type in (IndexType.IVF_PQ, IndexType.IVF_FLAT):
        return _lists(spec, rows)
    return 2048 if spec.type is IndexType.HNSW else 0


def _codes(spec: EngineSpec, dimensions: int) -> tuple[int, int]:
    """Subquantizers, and the dimensions padded to a multiple of them."""
    parts = min(spec.subquantizers or -(-dimensions // 4), dimensions)
    return parts, -(-dimensions // parts) * parts


def _lists(spec: EngineSpec, rows: int) -> int:
    """About sqrt(rows) lists of codes, or twice that of full vectors, whose scan costs more; never too few rows a list."""
    fine = 2 if spec.type is IndexType.IVF_FLAT else 1
    wanted = spec.lists or 1 << round(math.log2(max(16.0, fine * math.sqrt(rows))))
    return max(1, min(wanted, MAX_LISTS, rows // KMEANS_MIN_ROWS))
