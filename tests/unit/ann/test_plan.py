"""When a build is due, and of what: a table."""

import dataclasses

import pytest

from embedding_serving.contract.index import IndexOptions, IndexType
from embedding_serving.shard.ann.engines import EngineSpec
from embedding_serving.shard.ann.errors import UnsupportedIndexTypeError
from embedding_serving.shard.ann.limits import Limits
from embedding_serving.shard.ann.plan import Facts, check, due

PQ = EngineSpec(type=IndexType.PQ_FAST_SCAN)
IVF = EngineSpec(type=IndexType.IVF_PQ)
AUTO = IndexOptions()
FACTS = Facts(slots=50_000, dead=0, dimensions=384, spec=PQ, indexed=50_000, target_recall_percent=97)


def _facts(**changes: object) -> Facts:
    return dataclasses.replace(FACTS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "facts", "expected"),
    [
        (AUTO, FACTS, None),
        (AUTO, _facts(slots=10_000, spec=None, indexed=0), None),
        (AUTO, _facts(slots=10_001, spec=None, indexed=0), (PQ, False, True)),
        (AUTO, _facts(slots=400_000, indexed=390_000), (IVF, False, True)),
        (AUTO, _facts(slots=250_000, indexed=240_000, spec=IVF), None),
        (AUTO, _facts(slots=190_000, indexed=190_000, spec=IVF), (PQ, False, True)),
        (AUTO, _facts(slots=100_000), None),
        (AUTO, _facts(slots=100_001), (PQ, False, False)),
        (AUTO, _facts(slots=150_001), (PQ, False, True)),
        (AUTO, _facts(slots=55_001), None),
        (AUTO, _facts(slots=55_000, quiet=True), None),
        (AUTO, _facts(slots=55_001, quiet=True), (PQ, False, False)),
        (AUTO, _facts(slots=12_900, indexed=12_000, quiet=True), None),
        (AUTO, _facts(slots=100_001, dead=12_000), (PQ, True, False)),
        (AUTO, _facts(dead=15_000), None),
        (AUTO, _facts(dead=15_001), (PQ, True, False)),
        (AUTO, _facts(dead=31_000), (PQ, True, True)),
        (AUTO, _facts(slots=5_000, dead=4_000, spec=None), None),
        (AUTO, _facts(slots=9_000, dead=5_000, spec=None), (None, True, False)),
        (AUTO, _facts(dimensions=8, spec=None), None),
        (IndexOptions(type=IndexType.FLAT), _facts(spec=None), None),
        (IndexOptions(type=IndexType.HNSW), FACTS, (EngineSpec(type=IndexType.HNSW), False, True)),
        (IndexOptions(type=IndexType.HNSW, lists=7), _facts(spec=EngineSpec(type=IndexType.HNSW)), None),
        (IndexOptions(subquantizers=48), FACTS, (EngineSpec(type=IndexType.PQ_FAST_SCAN, subquantizers=48), False, True)),
        (IndexOptions(target_recall_percent=99), FACTS, (PQ, False, True)),
    ],
)
def test_a_build_is_due_exactly_when_it_should_be(
    options: IndexOptions, facts: Facts, expected: tuple[EngineSpec | None, bool, bool] | None
) -> None:
    what = due(options, facts, Limits())
    assert (what and (what.spec, what.compact, what.urgent)) == expected


def test_a_type_that_shards_lack_is_refused_with_those_that_they_have() -> None:
    with pytest.raises(UnsupportedIndexTypeError, match="HNSW"):
        check(IndexOptions(type=IndexType.SCANN))
