"""spec.rebuild.schedule: when it is due, and the rebuild that begins then."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from embedding_operator.api.rebuild import Rebuild
from embedding_operator.observe.eyes import Eyes
from embedding_operator.observe.vector_index import observe
from embedding_operator.plan.diagnosis import Finding
from embedding_operator.plan.schedule import SHORT, due, next_time, timetable
from embedding_operator.plan.vector_index import plan
from embedding_operator.resources import CONFIG_MAP, Manifest
from embedding_serving.contract.route import ROUTE_KEY, Phase, Timetable
from fixtures.controller import INSTALLATION, IndexWorld

NOW = datetime(2026, 3, 29, 12, 0, 30, tzinfo=UTC)
"""A Sunday; the clocks of Berlin went forward at 01:00 UTC."""


def kept(schedule: str, zone: str = "UTC", after: str = "2026-03-01T00:00:00Z") -> Timetable:
    return Timetable(schedule=schedule, zone=zone, after=after)


@pytest.mark.parametrize(
    ("schedule", "zone", "latest"),
    [
        ("0 3 * * *", "UTC", "2026-03-29T03:00:00Z"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("30 23 * * SAT", "America/New_York", "2026-03-29T03:30:00Z"),
        ("0 12 * * *", "UTC", "2026-03-29T12:00:00Z"),
        ("1 12 * * *", "UTC", "2026-03-28T12:01:00Z"),
        ("@weekly", "UTC", "2026-03-29T00:00:00Z"),
        ("@monthly", "UTC", "2026-03-01T00:00:00Z"),
    ],
)
def test_the_latest_time_that_has_come_is_due(schedule: str, zone: str, latest: str) -> None:
    assert due(kept(schedule, zone, after="2026-02-01T00:00:00Z"), NOW) == latest
    assert due(kept(schedule, zone, after=latest), NOW) == "", "it was counted"


@pytest.mark.parametrize("short", SHORT)
def test_short_names_say_times(short: str) -> None:
    assert next_time(kept(short), NOW) > NOW


def test_a_time_that_is_due_now_is_not_the_next_one() -> None:
    exactly = datetime(2026, 3, 29, 3, tzinfo=UTC)
    assert due(kept("0 3 * * *"), exactly) == "2026-03-29T03:00:00Z"
    assert next_time(kept("0 3 * * *"), exactly) == exactly + timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"schedule": "0 3 * * *", "timeZone": "Mars/Olympus"}, "spec.rebuild.timeZone Mars/Olympus"),
        ({"schedule": "0 3 * * *", "timeZone": "Europe"}, "spec.rebuild.timeZone Europe"),
        ({"schedule": "99 3 * * *"}, "spec.rebuild.schedule 99 3"),
        ({"schedule": "0 0 31 2 *"}, "spec.rebuild.schedule 0 0 31 2"),
    ],
)
def test_what_says_no_time_is_a_finding(given: dict[str, str], words: str) -> None:
    found = timetable(Rebuild.model_validate(given), None, NOW)
    assert isinstance(found, Finding)
    assert found.reason == "InvalidSchedule"
    assert words in found.message


def test_another_schedule_counts_from_when_it_was_set() -> None:
    wanted = Rebuild.model_validate({"schedule": "0 3 * * *"})
    before = kept("0 3 * * *")
    assert timetable(wanted, before, NOW) == before
    changed = timetable(wanted, kept("0 4 * * *"), NOW)
    assert changed == kept("0 3 * * *", after="2026-03-29T12:00:30Z")


@pytest.fixture
def world() -> IndexWorld:
    """An index with documents that is to be built again every Sunday."""
    world = IndexWorld(rebuild={"schedule": "0 3 * * 0", "rollbackWindowSeconds": 3_600})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    return world


def weeks_pass(world: IndexWorld, weeks: int = 3) -> None:
    """Nobody looked for so long."""

    def change(live: Manifest) -> None:
        route = world.route
        assert route.timetable is not None
        before = (datetime.now(UTC) - timedelta(weeks=weeks)).strftime("%Y-%m-%dT%H:%M:%SZ")
        timetable = route.timetable.model_copy(update={"after": before})
        live["data"][ROUTE_KEY] = route.model_copy(update={"timetable": timetable}).model_dump_json()

    world.kube.edit(CONFIG_MAP, "t", "docs-route", change)


def test_setting_a_schedule_asks_for_nothing_at_once(world: IndexWorld) -> None:
    assert world.route.timetable is not None
    assert (world.route.phase, world.route.next_generation) == (Phase.STABLE, 2)
    assert world.condition("UpToDate")[0] == "True"


def test_missed_times_ask_once(world: IndexWorld) -> None:
    weeks_pass(world)
    world.settle(looks=80)
    route = world.route
    assert (route.phase, route.writer) == (Phase.OBSERVING, 2)
    assert route.rebuild is not None
    assert route.rebuild.causes[0].startswith("spec.rebuild.schedule was due at ")
    world.edit(rebuild={"schedule": "0 3 * * 0", "rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer, world.route.next_generation) == (Phase.STABLE, 2, 3)


def test_a_time_that_comes_while_a_rebuild_is_under_way_waits(world: IndexWorld) -> None:
    weeks_pass(world)
    world.settle(looks=80)
    weeks_pass(world, weeks=2)
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer) == (Phase.OBSERVING, 2)
    world.edit(rebuild={"schedule": "0 3 * * 0", "rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert world.route.writer == 3


def test_one_that_was_given_up_is_not_begun_again_before_the_next_time(world: IndexWorld) -> None:
    world.shards.copying = False
    weeks_pass(world)
    world.settle(looks=80)
    assert world.route.phase is Phase.BUILDING
    world.annotate(abort="2")
    world.settle(looks=80)
    assert (world.route.phase, world.route.next_generation) == (Phase.STABLE, 3)
    world.shards.copying = True
    world.settle(looks=80)
    assert world.route.next_generation == 3
    world.edit(rebuild={"schedule": "0 4 * * 0", "rollbackWindowSeconds": 3_600})
    world.settle()
    weeks_pass(world)
    world.settle(looks=80)
    assert world.route.writer == 3


def test_a_schedule_does_not_bring_back_what_a_person_has_left(world: IndexWorld) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80)
    world.annotate(rollback="2")
    world.settle(looks=80)
    world.edit(rebuild={"schedule": "0 3 * * 0", "rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer) == (Phase.STABLE, 1)
    weeks_pass(world)
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer) == (Phase.STABLE, 1)
    assert world.condition("UpToDate")[1] == "RolledBack"


def test_a_zone_that_nobody_knows_is_refused_and_all_else_goes_on(world: IndexWorld) -> None:
    world.edit(replicas=2, rebuild={"schedule": "0 3 * * 0", "timeZone": "Mars/Olympus"})
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "InvalidSchedule")
    assert "Europe/Berlin" in world.condition("Stalled")[2]
    assert world.condition("Ready")[0] == "True"
    assert world.status["shards"][0]["readyReplicas"] == 2
    assert world.route.timetable is None


def test_it_is_looked_at_when_it_is_due(world: IndexWorld) -> None:
    world.edit(rebuild={"schedule": "* * * * *", "rollbackWindowSeconds": 3_600})
    world.settle()
    snapshot = asyncio.run(observe(Eyes(world.kube, world.data_plane, INSTALLATION), "t", "docs"))
    assert snapshot is not None
    again = plan(snapshot).requeue_after_seconds
    assert again is not None
    assert again <= 60
    world.edit(rebuild={})
    world.settle()
    snapshot = asyncio.run(observe(Eyes(world.kube, world.data_plane, INSTALLATION), "t", "docs"))
    assert snapshot is not None
    assert plan(snapshot).requeue_after_seconds is None
