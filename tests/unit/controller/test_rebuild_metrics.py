"""What the operator measures of rebuilds, seen as Prometheus sees it."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from embedding_operator import metrics
from embedding_operator.lanes import Key
from embedding_operator.loop import Reconciler
from embedding_operator.plan.measures import RebuildNumbers, Turn
from embedding_operator.rebuild_metrics import GAUGES, RebuildMetrics
from embedding_operator.resources import VECTOR_INDEX
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld

PREFIX = "embedding_operator_rebuild"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"{PREFIX}{name}", {"namespace": "t", "index": "docs"} | labels)


def series() -> set[str]:
    """Metrics that have a sample of the index."""
    return {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith(PREFIX) and sample.labels.get("index") == "docs"
    }


@pytest.fixture(autouse=True)
def nothing_measured() -> None:
    """Metrics are of the process."""
    for metric in (*GAUGES, metrics.REBUILD_PHASE, metrics.REBUILDS, metrics.REBUILD_WRITE_PAUSE_SECONDS):
        metric.clear()


@pytest.fixture
def world() -> IndexWorld:
    world = IndexWorld(shards=2, rebuild={"rollbackWindowSeconds": 3_600})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    return world


@pytest.fixture
def process(world: IndexWorld) -> Reconciler:
    return world.process()


def until(world: IndexWorld, process: Reconciler, holds: Callable[[], bool]) -> None:
    for _ in range(80):
        if holds():
            return
        world.reconcile(process)
        world.roll_out()
    pytest.fail("it never came to be")


def test_a_rebuild_shows_its_phase_and_numbers(world: IndexWorld, process: Reconciler) -> None:
    world.reconcile(process)
    assert series() == set()
    world.shards.copying, world.shards.rows_per_second = False, 4.0
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    until(world, process, lambda: value("_phase", phase="CatchingUp") == 1 and value("_rows_per_second") == 8.0)
    assert value("_total_documents") == 30
    assert value("_documents") == 0
    assert value("_stalled") == 0
    world.shards.copying = True
    world.settle(looks=80, process=process)
    assert value("_phase", phase="CatchingUp") is None
    assert value("_phase", phase="Observing") == 1
    assert value("_documents") == 30
    assert value("_behind_rows") == 0
    assert value("_recall") == pytest.approx(0.99)


def test_outcomes_are_counted_once_and_the_pause_of_writes_is_measured(world: IndexWorld, process: Reconciler) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80, process=process)
    assert value("s_total", outcome="switched") == 1
    assert value("_write_pause_seconds_count") == 1
    world.annotate(rollback="2")
    world.settle(looks=80, process=process)
    assert value("s_total", outcome="rolled_back") == 1
    assert value("s_total", outcome="switched") == 1
    assert value("_write_pause_seconds_count") == 2
    assert value("s_total", outcome="gave_up") is None


def test_a_refused_and_a_given_up_generation_are_told_apart(world: IndexWorld, process: Reconciler) -> None:
    world.measured = world.measured | {"recall": 0.5}
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80, process=process)
    assert value("s_total", outcome="refused") == 1
    world.shards.copying = False
    world.serve_model(revision="5a5b5c5d", fingerprint="fp-3")
    world.settle(looks=80, process=process)
    world.annotate(abort="3")
    world.settle(looks=80, process=process)
    assert value("s_total", outcome="gave_up") == 1
    assert value("s_total", outcome="refused") == 1
    assert value("_write_pause_seconds_count") is None, "no write waited"


def test_a_fence_that_is_called_off_is_counted_and_writes_waited(world: IndexWorld, process: Reconciler) -> None:
    world.edit(rebuild={"autoPromotionEnabled": False})
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80, process=process)
    world.annotate(promote="2")
    until(world, process, lambda: world.route.phase is Phase.FENCING)
    world.annotate(abort="2")
    until(world, process, lambda: world.route.phase is Phase.REOPENING)
    until(world, process, lambda: world.route.phase is Phase.BUILDING or world.route.phase is Phase.STABLE)
    assert value("s_total", outcome="called_off") == 1
    assert value("_write_pause_seconds_count") == 1


def test_a_decision_that_is_not_on_record_is_not_counted_and_nothing_follows_from_it(
    world: IndexWorld, process: Reconciler
) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    until(world, process, lambda: world.route.phase is Phase.COMMITTED)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    until(world, process, lambda: world.route.phase is Phase.OBSERVING)
    before = world.names("PersistentVolumeClaim")
    world.kube.fault = lambda _, write: "500" if write.startswith("put ConfigMap") else None
    for _ in range(3):
        with pytest.raises(Exception, match="etcd is away"):
            world.reconcile(process)
    assert world.names("PersistentVolumeClaim") == before, "the collection was not decided"
    assert world.route.phase is Phase.OBSERVING


def test_nothing_is_left_of_an_index_that_has_gone(world: IndexWorld, process: Reconciler) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80, process=process)
    assert series()
    world.kube.remove(VECTOR_INDEX, "t", "docs")
    world.reconcile(process)
    assert series() == set()


def test_who_did_not_put_the_fence_up_measures_by_the_route() -> None:
    key, rebuilds = Key("VectorIndex", "t", "docs"), RebuildMetrics()
    rebuilds.decided(key, Turn(opens=True, fenced_for=7.0))
    assert value("_write_pause_seconds_sum") == 7.0
    rebuilds.forget(key)
    assert series() == set()


def test_what_is_not_known_is_no_number() -> None:
    key, rebuilds = Key("VectorIndex", "t", "docs"), RebuildMetrics()
    rebuilds.seen(key, RebuildNumbers("CatchingUp", 1, None, None, 0.0, None, stalled=True))
    assert value("_total_documents") is value("_recall") is None
    assert value("_stalled") == 1
    rebuilds.seen(key, RebuildNumbers("CatchingUp", 1, 2, 3, 0.0, None, stalled=False))
    assert value("_total_documents") == 2
    rebuilds.seen(key, RebuildNumbers("CatchingUp", 1, None, 3, 0.0, None, stalled=False))
    assert value("_total_documents") is None
    rebuilds.forget(key)
    assert series() == set()
