"""A rebuild is given up for another one of the same model: what it has embedded is not embedded again."""

from datetime import timedelta

import pytest

from embedding_operator.plan import asked
from embedding_operator.plan import route as decision_table
from embedding_operator.resources import CONFIG_MAP, PVC, RESOURCE_QUOTA, STATEFUL_SET
from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld

MODEL = ("9f8e7d6c", "fp-2")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> IndexWorld:
    """Generation 2 is being built of another model, and has embedded a part of what generation 1 holds."""
    monkeypatch.setattr(decision_table, "MOST_BEHIND", 0)
    world = IndexWorld(shards=2, rebuild={"rollbackWindowSeconds": 3_600})
    world.settle()
    world.shards.write("docs-g1-s0-0", 90)
    world.shards.write("docs-g1-s1-0", 80)
    world.serve_model(*MODEL)
    embed_more_than(world, 2, 4)
    assert 0 < held(world, 2) < 100
    return world


def held(world: IndexWorld, generation: int) -> int:
    volumes = world.shards.volumes.items()
    return sum(len(volume.documents) for name, volume in volumes if name.startswith(f"docs-g{generation}-"))


def embed_more_than(world: IndexWorld, generation: int, documents: int) -> None:
    """A little at a time, and then no more."""
    world.shards.most = 1
    for _ in range(60):
        if held(world, generation) > documents:
            break
        world.reconcile()
        world.roll_out()
    world.shards.most = 0


def counted(world: IndexWorld, generation: int) -> tuple[int, int]:
    """Documents that were embedded, and those whose vector was there."""
    volumes = [volume for name, volume in world.shards.volumes.items() if name.startswith(f"docs-g{generation}-")]
    return sum(volume.embedded for volume in volumes), sum(volume.reused for volume in volumes)


def donor(world: IndexWorld) -> int | None:
    return world.route.donor.generation if world.route.donor else None


def claims(world: IndexWorld) -> set[str]:
    """Generations that have volumes."""
    return {name.split("-")[2] for name in world.names(PVC.kind)}


def test_what_was_embedded_before_the_shards_were_changed_is_not_embedded_again(world: IndexWorld) -> None:
    part = held(world, 2)
    world.edit(shards=3)
    world.settle(looks=80)
    assert (world.route.phase, world.route.other, donor(world)) == (Phase.BUILDING, 3, 2)
    assert [one.generation for one in world.route.generations] == [1, 3], "no gateway asks a donor"
    given_up = [volume for name, volume in world.shards.volumes.items() if name.startswith("docs-g2-")]
    assert given_up
    assert not any(volume.state.sources for volume in given_up)
    leases = {consumer for name, volume in world.shards.volumes.items() if "-g1-" in name for consumer in volume.leases}
    assert leases == {"docs-g3-s0-0", "docs-g3-s1-0", "docs-g3-s2-0"}
    assert claims(world) == {"g1", "g2", "g3"}
    assert "takes the vectors of generation 2" in world.condition("UpToDate")[2]
    world.shards.most = None
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase, donor(world)) == (3, Phase.OBSERVING, None)
    assert counted(world, 3) == (170 - part, part)
    assert claims(world) == {"g1", "g3"}
    assert {name[:7] for name in world.names("StatefulSet")} == {"docs-g1", "docs-g3"}
    assert world.kube.writes.count("event VectorsKept") == 1


def test_it_goes_as_soon_as_what_is_built_has_caught_up(world: IndexWorld) -> None:
    """Not when it is switched to: that may be a person's to say."""
    world.edit(shards=3, rebuild={"autoPromotionEnabled": False})
    world.shards.most = None
    world.settle(looks=80)
    assert world.condition("UpToDate")[1] == "AwaitingPromotion"
    assert (world.route.phase, donor(world)) == (Phase.BUILDING, None)
    assert claims(world) == {"g1", "g3"}
    pods = [volume.state.sources for name, volume in world.shards.volumes.items() if name.startswith("docs-g3-")]
    assert pods
    assert not any(source.donors for sources in pods for source in sources)


def test_nobody_searches_in_it_so_it_has_one_copy_of_each_shard(world: IndexWorld) -> None:
    world.edit(replicas=2)
    world.settle(looks=80)
    world.edit(shards=3)
    world.settle(looks=80)
    replicas = {name: live["spec"]["replicas"] for (kind, _, name), live in world.kube.objects.items() if kind == STATEFUL_SET}
    assert donor(world) == 2
    assert {name[:7] for name, number in replicas.items() if number == 2} == {"docs-g1", "docs-g3"}
    assert {name[:7] for name, number in replicas.items() if number == 1} == {"docs-g2"}


def test_a_spec_that_is_set_back_has_no_use_for_it(world: IndexWorld) -> None:
    world.edit(shards=3)
    world.settle(looks=80)
    assert donor(world) == 2
    world.edit(shards=2)
    world.serve_model("1a2b3c4d", "fp-1")
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase, donor(world)) == (1, Phase.STABLE, None)
    assert claims(world) == {"g1"}


def test_it_goes_with_what_is_aborted(world: IndexWorld) -> None:
    world.edit(shards=3)
    world.settle(looks=80)
    world.annotate(abort="3")
    world.settle(looks=80)
    assert (world.route.phase, donor(world)) == (Phase.STABLE, None)
    assert world.condition("UpToDate")[:2] == ("False", "Aborted")
    assert claims(world) == {"g1"}


def test_a_rebuild_for_another_model_gives_nothing(world: IndexWorld) -> None:
    world.serve_model("5a5b5c5d", "fp-3")
    world.shards.most = None
    for _ in range(80):
        world.reconcile()
        assert donor(world) is None
        world.roll_out()
    assert (world.route.writer, counted(world, 3)) == (3, (170, 0))


def test_a_donor_of_the_model_before_goes_when_the_model_is_changed_again(world: IndexWorld) -> None:
    world.edit(shards=3)
    world.settle(looks=80)
    world.serve_model("5a5b5c5d", "fp-3")
    world.settle(looks=80)
    assert (world.route.other, donor(world)) == (4, None)
    assert claims(world) == {"g1", "g4"}


def test_of_two_that_were_given_up_the_one_that_has_more_is_kept(world: IndexWorld) -> None:
    world.edit(shards=3)
    world.settle(looks=80)
    assert held(world, 3) == 0
    world.edit(shards=1)
    world.settle(looks=80)
    assert (world.route.other, donor(world)) == (4, 2)
    assert claims(world) == {"g1", "g2", "g4"}
    embed_more_than(world, 4, held(world, 2))
    world.edit(shards=3)
    world.settle(looks=80)
    assert (world.route.other, donor(world)) == (5, 4)
    assert claims(world) == {"g1", "g4", "g5"}


def test_one_that_has_embedded_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_table, "MOST_BEHIND", 0)
    world = IndexWorld(shards=1)
    world.settle()
    world.shards.write("docs-g1-s0-0", 10)
    world.shards.most = 0
    world.serve_model(*MODEL)
    world.settle(looks=80)
    world.edit(shards=2)
    world.settle(looks=80)
    assert (world.route.other, donor(world)) == (3, None)


def test_more_shards_alone_copy_vectors_and_leave_no_donor() -> None:
    """What is given up has the vectors that serve: the next one copies those."""
    world = IndexWorld(shards=1, rebuild={"autoPromotionEnabled": False})
    world.settle()
    world.shards.write("docs-g1-s0-0", 10)
    world.edit(shards=2)
    world.settle(looks=80)
    assert held(world, 2) == 10
    world.edit(shards=3)
    for _ in range(40):
        world.reconcile()
        assert donor(world) is None
        world.roll_out()
    assert world.route.other == 3


def test_it_waits_with_the_rebuild_that_is_to_use_it(world: IndexWorld) -> None:
    world.serve_model(*MODEL, ready=0)
    world.edit(shards=3)
    world.settle(looks=80)
    assert (world.route.phase, donor(world)) == (Phase.STABLE, 2)
    assert "no pod that answers yet" in world.condition("UpToDate")[2]
    world.serve_model(*MODEL)
    world.settle(looks=80)
    assert (world.route.phase, world.route.other, donor(world)) == (Phase.BUILDING, 3, 2)


def test_it_does_not_wait_for_one_that_nobody_wants_any_more(world: IndexWorld) -> None:
    world.serve_model(*MODEL, ready=0)
    world.edit(shards=3)
    world.settle(looks=80)
    assert donor(world) == 2
    world.serve_model("1a2b3c4d", "fp-1")
    world.edit(shards=2)
    world.settle(looks=80)
    assert (world.route.phase, donor(world)) == (Phase.STABLE, None)
    assert claims(world) == {"g1"}


def test_it_makes_room_where_there_is_none_for_both(world: IndexWorld) -> None:
    quota = {"hard": {"persistentvolumeclaims": "4"}, "used": {"persistentvolumeclaims": "4"}}
    world.kube.add(RESOURCE_QUOTA, {"metadata": {"name": "q", "namespace": "t"}, "spec": {}, "status": quota})
    world.edit(shards=3)
    world.settle(looks=80)
    assert (world.route.phase, donor(world)) == (Phase.STABLE, None)
    assert world.condition("UpToDate")[1] == "InsufficientResources"
    assert claims(world) == {"g1"}


def test_it_makes_room_where_the_new_pods_do_not_come(world: IndexWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.shards.silent = {"docs-g3-s2-0"}
    world.edit(shards=3)
    world.settle(looks=80)
    assert (world.route.phase, donor(world)) == (Phase.BUILDING, 2)
    monkeypatch.setattr(asked, "CRAMPED", timedelta(days=-1))
    world.settle(looks=80)
    assert (world.route.other, donor(world)) == (3, None)
    assert claims(world) == {"g1", "g3"}


def test_a_generation_that_ever_took_writes_gives_nothing(world: IndexWorld) -> None:
    """Clients may have brought vectors of their own. Only where the route was lost is it mistaken for one that is built."""
    world.shards.most = None
    world.settle(looks=80)
    world.annotate(rollback="2")
    world.settle(looks=80)
    assert world.route.writer == 1
    world.edit(rebuild={"autoPromotionEnabled": False})
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.settle(looks=80)
    assert (world.route.writer, world.route.other, world.route.phase) == (1, 2, Phase.BUILDING)
    assert world.shards.volumes["docs-g2-s0-0"].mode is not Mode.OPEN
    for _ in range(80):
        world.edit(shards=3)
        world.reconcile()
        assert donor(world) is None
        world.roll_out()
    assert world.route.other == 3
