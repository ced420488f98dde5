"""A shard that loses its volume: copied from a follower where there is one, kept closed until a person decides otherwise."""

import pytest

from embedding_operator.resources import POD, PVC
from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld

WRITER = "docs-g1-s0-0"


@pytest.fixture
def alone() -> IndexWorld:
    world = IndexWorld()
    world.settle()
    world.shards.write(WRITER, 100)
    world.reconcile()
    return world


def lose(world: IndexWorld) -> None:
    """The node's disk is gone: a new pod finds a new volume."""
    for kind, name in ((PVC, f"data-{WRITER}"), (POD, WRITER)):
        world.kube.objects.pop((kind, "t", name), None)
    world.shards.lose(WRITER)
    world.roll_out()


def test_a_restart_with_the_same_volume_changes_nothing(alone: IndexWorld) -> None:
    before = alone.route
    alone.kube.objects.pop((POD, "t", WRITER))
    alone.roll_out()
    alone.settle()
    assert alone.route == before


def test_a_writer_that_is_loading_has_lost_nothing() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    world.shards.write(WRITER, 100)
    world.reconcile()
    before, told = world.route, list(world.shards.told)
    world.annotate(accept_data_loss="1")
    world.shards.loading.add(WRITER)
    world.settle()
    assert world.route == before
    assert world.shards.told == told
    assert world.status["documents"] == 100
    assert "is loading" in world.condition("Writable")[2]


def test_a_new_index_waits_for_shards_that_are_loading() -> None:
    world = IndexWorld(shards=2)
    world.shards.loading.add("docs-g1-s1-0")
    world.settle()
    assert world.route.active.histories == ()
    world.shards.loading.clear()
    world.settle()
    assert world.condition("Writable")[0] == "True"


def test_with_one_copy_it_stays_closed_and_says_what_is_lost_and_what_helps(alone: IndexWorld) -> None:
    lose(alone)
    alone.settle()
    assert alone.shards.volumes[WRITER].mode is Mode.CLOSED
    assert alone.route.phase is Phase.STABLE
    status, reason, message = alone.condition("Writable")
    assert (status, reason) == ("False", "WriterDown")
    assert "100 documents" in message
    assert "kubectl annotate vi -n t docs embedding-operator.io/accept-data-loss=1" in message
    assert alone.condition("Stalled")[:2] == ("True", "WriterDown")
    assert alone.condition("Ready")[:2] == ("False", "ShardDown"), "a closed writer answers no search"
    assert alone.status["progress"] == "WriterDown"


def test_a_person_may_accept_the_loss_and_once_only(alone: IndexWorld) -> None:
    lose(alone)
    alone.annotate(accept_data_loss="1")
    alone.settle()
    assert alone.condition("Writable")[0] == "True"
    assert alone.route.epoch == 2
    assert alone.status["documents"] == 0
    lose(alone)
    alone.settle()
    assert alone.condition("Writable")[0] == "False", "the annotation was about the first loss"
    assert "remove it first" in alone.condition("Writable")[2]
    alone.annotate(accept_data_loss=None)
    alone.settle()
    assert alone.condition("Writable")[0] == "False"
    alone.annotate(accept_data_loss="1")
    alone.settle()
    assert alone.condition("Writable")[0] == "True"


def test_a_loss_of_another_generation_is_not_accepted(alone: IndexWorld) -> None:
    lose(alone)
    alone.annotate(accept_data_loss="2")
    alone.settle()
    assert alone.condition("Writable")[0] == "False"


def test_with_a_follower_nothing_is_lost() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    world.shards.write(WRITER, 100)
    lose(world)
    world.settle()
    assert world.shards.volumes[WRITER].rows == 100
    assert world.condition("Writable")[0] == "True"
    assert world.route.epoch == 2
    told = [one.split(" at ")[0] for one in world.shards.told if not one.startswith("Release")]
    assert told[-2:] == [f"Follow {WRITER}", f"Unfence {WRITER}"]


def test_it_is_not_opened_before_the_copy_is_whole() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    world.shards.write(WRITER, 100)
    world.shards.copying = False
    lose(world)
    world.settle()
    assert world.shards.volumes[WRITER].mode is Mode.CLOSED
    assert world.condition("Writable")[:2] == ("False", "WriterDown")
    assert world.condition("Stalled")[0] == ""
    assert world.status["progress"] == "Copying 0%"
    assert world.condition("Ready")[0] == "True", "the follower answers reads"
    world.shards.copying = True
    world.settle()
    volume = world.shards.volumes[WRITER]
    assert volume.rows == 100
    assert volume.mode is Mode.OPEN


def test_other_shards_go_on_taking_writes() -> None:
    world = IndexWorld(shards=2)
    world.settle()
    lose(world)
    world.settle()
    assert world.shards.volumes["docs-g1-s1-0"].mode is Mode.OPEN
    assert world.route.epoch == 1
    world.shards.write("docs-g1-s1-0", 1)


def test_under_delete_the_volume_of_a_writer_whose_pod_is_away_stays() -> None:
    world = IndexWorld(storage={"size": "1Gi", "reclaimPolicy": "Delete"})
    world.settle()
    world.kube.objects.pop((POD, "t", WRITER))
    assert not [write for write in world.reconcile() if write.startswith("delete")]
    assert world.names("PersistentVolumeClaim") == [f"data-{WRITER}"]
