"""The decision table of a route: what shards say in, the next route and commands out."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedding_operator.plan.route import decide
from embedding_operator.plan.standing import Copy, Shard, Standing
from embedding_operator.plan.switch import FIRST_WAIT, LONGEST_WAIT, pause
from embedding_operator.plan.wish import Wish
from embedding_operator.plan.world import Decision
from embedding_serving.contract.admin import Follow, Mode, Role, ShardInfo, SourceState, Unfence
from embedding_serving.contract.route import GenerationRoute, Phase, Route

ON_RECORD = "h"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def route(phase: Phase = Phase.STABLE, *, epoch: int = 4, shards: int = 1, histories: tuple[str, ...] | None = None) -> Route:
    known = tuple(ON_RECORD for _ in range(shards)) if histories is None else histories
    generation = GenerationRoute(
        generation=1,
        hosts=tuple(f"docs-g1-s{number}.t.svc" for number in range(shards)),
        histories=known,
        fingerprint="fp",
        dimensions=384,
    )
    return Route(
        index="docs",
        namespace="t",
        seq=9,
        epoch=epoch,
        phase=phase,
        writer=1,
        weights={1: 100},
        next_generation=2,
        generations=(generation,),
    )


def info(number: int = 0, ordinal: int = 0, shards: int = 1, **said: Any) -> ShardInfo:
    values: dict[str, Any] = {
        "pod": f"docs-g1-s{number}-{ordinal}",
        "role": Role.WRITER,
        "generation": 1,
        "shard": number,
        "shards": shards,
        "fingerprint": "fp",
        "dimensions": 384,
        "history": ON_RECORD,
        "epoch": 4,
        "mode": Mode.OPEN,
        "ready": True,
        "position": 10,
        "digest": "0",
        "documents": 10,
        "tombstones": 0,
        "bytes": 1,
        "free_bytes": 1,
    }
    return ShardInfo(**(values | said))


def copy(said: ShardInfo) -> Copy:
    return Copy({"metadata": {"name": said.pod, "namespace": "t"}}, said)


def shard(writer: ShardInfo | None, *followers: ShardInfo, number: int = 0) -> Shard:
    return Shard(number, f"docs-g1-s{number}", copy(writer) if writer else None, tuple(copy(one) for one in followers))


def reads(history: str, cursor: int, behind: int | None = 0) -> tuple[SourceState, ...]:
    return (SourceState(shard=0, history=history, host="docs-g1-s0-0.docs-g1-s0.t.svc:8082", cursor=cursor, behind=behind),)


def asked(live: Route, shards: Iterable[Shard], *, accepted: bool = False) -> Decision:
    return decide(live, {live.writer: tuple(shards)}, Wish(now=NOW, loss_accepted=accepted))


LOST = info(history="new", mode=Mode.CLOSED, epoch=0, lost=True, position=0, documents=0)


def follower(cursor: int, behind: int | None = 0, ordinal: int = 1, history: str = ON_RECORD, position: int = 10) -> ShardInfo:
    own = f"own{ordinal}"
    return info(
        ordinal=ordinal, history=own, mode=Mode.CLOSED, lost=True, sources=reads(history, cursor, behind), position=position
    )


def decided(live: Route, *shards: Shard, accepted: bool = False) -> Decision:
    return asked(live, shards, accepted=accepted)


def test_the_next_fence_waits_longer_and_longer_and_never_too_long() -> None:
    waits = [pause(attempts) for attempts in range(1_000)]
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (timedelta(), FIRST_WAIT, LONGEST_WAIT)


def test_a_steady_route_with_open_shards_is_left_alone() -> None:
    live = route()
    decision = decided(live, shard(info()))
    assert decision.route is live
    assert decision.commands == ()


@pytest.mark.parametrize("said", [{"mode": Mode.CLOSED}, {"mode": Mode.FENCED}, {"epoch": 3}])
def test_a_shard_that_is_not_open_is_reopened_by_a_decision_first(said: dict[str, Any]) -> None:
    decision = decided(route(), shard(info(**said)))
    assert (decision.route.phase, decision.route.epoch, decision.route.seq) == (Phase.REOPENING, 5, 10)
    assert decision.commands == (), "the epoch is not on record yet"


def test_while_reopening_every_shard_is_told_and_then_the_route_is_steady() -> None:
    live = route(Phase.REOPENING, epoch=5, shards=2)
    still = decided(live, shard(info(shards=2, epoch=5)), shard(info(1, shards=2), number=1))
    assert still.route is live
    ((pod, message),) = still.commands
    assert pod.name == "docs-g1-s1-0"
    assert message == Unfence(epoch=5, history=ON_RECORD)
    done = decided(live, shard(info(shards=2, epoch=5)), shard(info(1, shards=2, epoch=5), number=1))
    assert (done.route.phase, done.route.epoch) == (Phase.STABLE, 5)


def test_a_fence_at_the_epoch_of_the_route_takes_a_higher_one() -> None:
    decision = decided(route(Phase.REOPENING), shard(info(mode=Mode.FENCED)))
    assert (decision.route.phase, decision.route.epoch) == (Phase.REOPENING, 5)


def test_the_first_histories_go_on_record_together_at_the_first_epoch() -> None:
    live = route(Phase.REOPENING, epoch=1, shards=2, histories=())
    new: dict[str, Any] = {"shards": 2, "mode": Mode.CLOSED, "epoch": 0, "lost": True}
    one = decided(live, shard(info(history="a", **new)), shard(None, number=1))
    assert one.route is live
    assert one.commands == ()
    both = decided(live, shard(info(history="a", **new)), shard(info(1, history="b", **new), number=1))
    assert both.route.active.histories == ("a", "b")
    assert (both.route.epoch, both.route.phase) == (1, Phase.REOPENING)


def test_a_shard_ahead_of_the_route_raises_the_route() -> None:
    """The route was lost or put back: no shard may be told anything below what it has seen."""
    decision = decided(route(), shard(info(epoch=7)))
    assert (decision.route.epoch, decision.route.phase) == (8, Phase.REOPENING)


def test_a_shard_that_is_open_under_another_history_is_taken_back() -> None:
    decision = decided(route(), shard(info(history="other", epoch=6)))
    assert decision.route.active.histories == ("other",)
    assert decision.route.epoch == 7


@pytest.mark.parametrize("live", [route(), route(Phase.REOPENING)])
def test_a_lost_volume_without_a_copy_stays_closed(live: Route) -> None:
    decision = decided(live, shard(LOST))
    assert decision.route is live
    assert decision.commands == ()
    assert decision.assessments[0].standing is Standing.LOST


def test_a_restored_volume_is_closed_too() -> None:
    decision = decided(route(), shard(info(history="restored", mode=Mode.CLOSED, lost=True, documents=9)))
    assert decision.assessments[0].standing is Standing.LOST


def test_it_opens_with_what_it_has_when_a_person_says_so() -> None:
    decision = decided(route(), shard(LOST), accepted=True)
    assert decision.route.active.histories == ("new",)
    assert (decision.route.epoch, decision.route.phase) == (5, Phase.REOPENING)
    assert decision.consumes_acceptance


def test_a_follower_is_copied_first_the_most_advanced_one() -> None:
    decision = decided(route(), shard(LOST, follower(7, position=7), follower(9, ordinal=2, position=9)))
    ((pod, message),) = decision.commands
    assert pod.name == "docs-g1-s0-0"
    assert isinstance(message, Follow)
    (source,) = message.sources
    assert (source.history, source.host, source.with_vectors) == ("own2", "docs-g1-s0-2.docs-g1-s0.t.svc:8082", True)
    assert decision.route.phase is Phase.STABLE


def test_a_follower_that_does_not_answer_is_waited_for_unless_a_person_says_otherwise() -> None:
    """A write that only two copies have was acknowledged: the one that is silent may be the other."""
    answering = replace(shard(LOST, follower(7)), silent=("docs-g1-s0-2",))
    assert decided(route(), answering).assessments[0].standing is Standing.LOST
    assert asked(route(), [answering], accepted=True).assessments[0].standing is Standing.COPYING


def test_it_is_admitted_when_it_has_read_everything() -> None:
    half = LOST.model_copy(update={"sources": reads("own1", 4)})
    waiting = decided(route(), shard(half, follower(10)))
    assert waiting.commands == (), "it was told already"
    assert waiting.assessments[0].copied == (4, 10)
    assert waiting.route.phase is Phase.STABLE
    whole = LOST.model_copy(update={"sources": reads("own1", 10)})
    decision = decided(route(), shard(whole, follower(10)))
    assert decision.route.active.histories == ("new",)
    assert decision.route.epoch == 5
    assert not decision.consumes_acceptance


@pytest.mark.parametrize(
    ("one", "usable"),
    [
        (follower(10, behind=None), True),
        (follower(0, behind=0, position=0), True),
        (follower(0, behind=None, position=0), False),
        (follower(3, behind=99, position=3), False),
        (follower(10, history="an older one"), False),
    ],
    ids=["restarted since", "in step with an empty shard", "never read", "known to lack changes", "of another history"],
)
def test_which_follower_is_a_copy(one: ShardInfo, usable: bool) -> None:
    standing = decided(route(), shard(LOST, one)).assessments[0].standing
    assert standing is (Standing.COPYING if usable else Standing.LOST)


def test_an_accepted_loss_is_no_reason_to_drop_what_a_follower_has() -> None:
    lacking = follower(3, behind=99, position=3)
    decision = decided(route(), shard(LOST, lacking), accepted=True)
    assert isinstance(decision.commands[0][1], Follow)
    read = LOST.model_copy(update={"sources": reads("own1", 3)})
    decision = decided(route(), shard(read, lacking), accepted=True)
    assert decision.route.active.histories == ("new",)
    assert decision.consumes_acceptance


def test_one_lost_shard_does_not_keep_the_others_closed() -> None:
    live = route(Phase.REOPENING, shards=2)
    lost = LOST.model_copy(update={"shards": 2})
    decision = decided(live, shard(lost), shard(info(1, shards=2, mode=Mode.CLOSED), number=1))
    ((pod, _),) = decision.commands
    assert pod.name == "docs-g1-s1-0"
    assert decision.route is live, "it is not steady before all are open"


@pytest.mark.parametrize("said", [{"fingerprint": "other"}, {"generation": 2}, {"shards": 3}, {"fault": "corrupt"}])
def test_what_is_not_the_shard_of_the_route_is_never_opened(said: dict[str, Any]) -> None:
    for live in (route(), route(Phase.REOPENING), route(Phase.REOPENING, histories=())):
        decision = decided(live, shard(info(mode=Mode.CLOSED, epoch=0, **said)), accepted=True)
        assert decision.route is live
        assert decision.commands == ()
