"""The shard's answers to the operator: PROTOCOL's table of messages, one row a test."""

from dataclasses import replace

import pytest

from embedding_serving.contract.admin import (
    Activate,
    FeedSource,
    Fence,
    Follow,
    Message,
    Mode,
    Prepare,
    Refusal,
    Retire,
    Seal,
    Unfence,
)
from embedding_serving.contract.route import GenerationRoute, Phase, Route, ShardPosition
from embedding_serving.shard.store import protocol
from embedding_serving.shard.store.records import Change, Identity, Lease, Op, Refused
from embedding_serving.shard.store.state import Counters, Protocol, State

from .conftest import Shard

HISTORY = "h1"
ROUTE = Route(
    index="docs", namespace="t", seq=2, epoch=4, phase=Phase.COMMITTED, writer=2, weights={2: 100}, next_generation=3,
    generations=(GenerationRoute(generation=2, hosts=("a",), fingerprint="f2", dimensions=4),),
)  # fmt: skip


def state(mode: Mode = Mode.OPEN, epoch: int = 3, position: int = 10, **known: object) -> State:
    durable = Protocol.model_validate({"history": HISTORY, "epoch": epoch, "mode": mode, "opened_at": 3, **known})
    return State(Identity(1, 0, 1, "f1", 4), durable, Counters(next_row=position + 1))


def tell(before: State, message: Message) -> State:
    return protocol.command(before, message)[0]


def fenced(epoch: int = 4, **options: object) -> State:
    return tell(state(**options), Fence(epoch=epoch, history=HISTORY, deadline_seconds=5))  # type: ignore[arg-type]


def refusal(before: State, message: Message) -> Refusal:
    with pytest.raises(Refused) as refused:
        protocol.command(before, message)
    return refused.value.code


def test_a_message_of_a_lower_epoch_is_stale() -> None:
    assert refusal(state(epoch=3), Unfence(epoch=2, history=HISTORY)) is Refusal.STALE


def test_a_message_for_another_history_is_refused() -> None:
    assert refusal(state(), Unfence(epoch=4, history="other")) is Refusal.WRONG_HISTORY


def test_a_higher_epoch_voids_what_was_prepared_and_sealed() -> None:
    before = state(Mode.FENCED, epoch=3, prepared=3, prepared_at=10, sealed=True)
    after = tell(before, Follow(epoch=4, history=HISTORY, sources=()))
    assert (after.protocol.prepared, after.protocol.sealed, after.protocol.epoch) == (None, False, 4)


def test_a_fence_answers_the_last_position_again_and_again() -> None:
    after = fenced()
    assert after.protocol.mode is Mode.FENCED
    again, answer = protocol.command(after, Fence(epoch=4, history=HISTORY, deadline_seconds=5))
    assert (answer.position, again.protocol.mode) == (10, Mode.FENCED)


def test_a_lifted_fence_says_so_and_cannot_be_sealed() -> None:
    lifted = protocol.lift(fenced())
    assert lifted.protocol.mode is Mode.OPEN
    assert refusal(lifted, Fence(epoch=4, history=HISTORY, deadline_seconds=5)) is Refusal.LIFTED
    assert refusal(lifted, Seal(epoch=4, history=HISTORY, position=10)) is Refusal.LIFTED


def test_the_timer_does_not_lift_a_sealed_fence() -> None:
    sealed = tell(fenced(), Seal(epoch=4, history=HISTORY, position=10))
    assert protocol.lift(sealed).protocol.mode is Mode.FENCED


def test_the_timer_does_not_lift_a_fence_that_a_higher_epoch_has_left_behind() -> None:
    """Else a generation that was switched away from opens when it follows at the next epoch, which voids its seal."""
    sealed = tell(fenced(), Seal(epoch=4, history=HISTORY, position=10))
    follows = tell(sealed, Follow(epoch=5, history=HISTORY, sources=()))
    assert protocol.lift(follows).protocol.mode is Mode.FENCED


def test_the_timer_does_not_open_a_shard_that_was_closed() -> None:
    assert protocol.lift(fenced(mode=Mode.CLOSED)).protocol.mode is Mode.FENCED


def test_a_seal_needs_the_fence_of_the_same_position() -> None:
    assert refusal(fenced(), Seal(epoch=4, history=HISTORY, position=9)) is Refusal.NOT_FENCED
    assert refusal(state(), Seal(epoch=4, history=HISTORY, position=10)) is Refusal.NOT_FENCED


def test_an_unfence_needs_a_higher_epoch_than_the_fence() -> None:
    assert refusal(fenced(4), Unfence(epoch=4, history=HISTORY)) is Refusal.STALE
    after = tell(fenced(4), Unfence(epoch=5, history=HISTORY))
    assert (after.protocol.mode, after.protocol.opened_at) == (Mode.OPEN, 5)
    assert tell(after, Unfence(epoch=5, history=HISTORY)) == after


def test_an_open_shard_follows_nobody() -> None:
    assert refusal(state(), Follow(epoch=3, history=HISTORY, sources=())) is Refusal.OPEN


def following(cursor: int = 0) -> State:
    source = FeedSource(shard=0, history="blue", host="x:1", position=cursor)
    return tell(state(Mode.CLOSED), Follow(epoch=4, history=HISTORY, sources=(source,)))


def prepare_empty() -> Prepare:
    return Prepare(epoch=4, history=HISTORY, rebuild_id="r", sources=())


def prepare(position: int = 7, epoch: int = 4, digest: str | None = None) -> Prepare:
    sources = (ShardPosition(shard=0, history="blue", position=position),)
    return Prepare(epoch=epoch, history=HISTORY, rebuild_id="r", sources=sources, digest=digest)


def test_prepare_needs_cursors_and_digest() -> None:
    assert refusal(following(6), prepare(7)) is Refusal.NOT_CAUGHT_UP
    assert refusal(following(7), prepare(7, digest="1" * 32)) is Refusal.DIGESTS_DIFFER
    ready = tell(following(7), prepare(7, digest="0" * 32))
    assert ready.protocol.prepared == 4
    assert ready.leases == {"reverse-0": ("r", 10)}
    assert protocol.command(ready, prepare(7))[1].position == 10


def test_a_prepared_shard_is_not_told_to_follow_at_the_same_epoch() -> None:
    ready = tell(following(7), prepare(7))
    assert refusal(ready, Follow(epoch=4, history=HISTORY, sources=())) is Refusal.NOT_CAUGHT_UP


def test_activation_needs_prepare_of_the_same_epoch() -> None:
    assert refusal(following(7), Activate(epoch=4, history=HISTORY)) is Refusal.NOT_PREPARED
    opened = tell(tell(following(7), prepare(7)), Activate(epoch=4, history=HISTORY))
    assert (opened.protocol.mode, opened.protocol.opened_at, opened.sources) == (Mode.OPEN, 4, ())
    assert tell(opened, Activate(epoch=4, history=HISTORY)) == opened
    assert refusal(tell(following(7), prepare(7)), Activate(epoch=5, history=HISTORY)) is Refusal.NOT_PREPARED


def test_a_retired_shard_answers_with_the_route() -> None:
    retired = tell(state(), Retire(epoch=4, history=HISTORY, route=ROUTE))
    with pytest.raises(Refused) as refused:
        protocol.check_read(retired, 1, "f1", writer=False)
    assert (refused.value.code, refused.value.route) == (Refusal.MOVED, ROUTE)
    with pytest.raises(Refused):
        protocol.check_write(retired, 1, "f1")


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.FENCED])
def test_a_prepared_shard_answers_who_has_the_route_that_names_it(mode: Mode) -> None:
    """Searches go on between the commit and the activation, also where the generation was left before."""
    ready = tell(
        tell(state(mode, was_writer=mode is Mode.FENCED), Retire(epoch=4, history=HISTORY, route=ROUTE)), prepare_empty()
    )
    protocol.check_read(ready, 1, "f1", writer=True, epoch=4)
    for former in ({"epoch": 3, "writer": True}, {"epoch": 4, "writer": False}):
        with pytest.raises(Refused):
            protocol.check_read(ready, 1, "f1", **former)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        protocol.check_write(ready, 1, "f1")


def test_another_generation_or_vector_space_is_refused() -> None:
    for generation, fingerprint, code in ((2, "f1", Refusal.WRONG_GENERATION), (1, "f2", Refusal.WRONG_FINGERPRINT)):
        with pytest.raises(Refused) as refused:
            protocol.check_write(state(), generation, fingerprint)
        assert refused.value.code is code


def test_a_former_writer_does_not_read_again_from_zero() -> None:
    assert protocol.restart(following(7), 0).sources[0].cursor == 0
    former = state(Mode.CLOSED, was_writer=True)
    with pytest.raises(Refused):
        protocol.restart(former, 0)


def way_back(position: int = 10, nonce: str = "r1", history: str = "green") -> Follow:
    source = FeedSource(shard=0, history=history, host="x:1", position=position, consumer="reverse-0", nonce=nonce)
    return Follow(epoch=4, history=HISTORY, sources=(source,))


def test_a_source_is_read_under_the_lease_that_the_operator_names() -> None:
    (source,) = tell(state(Mode.FENCED, was_writer=True), way_back(7)).sources
    assert (source.consumer, source.nonce, source.cursor) == ("reverse-0", "r1", 7)


def test_after_a_second_beginning_the_lease_has_a_nonce_of_its_own_until_the_operator_names_another() -> None:
    before = protocol.restart(tell(state(Mode.CLOSED), way_back(7)), 0)
    (begun,) = before.sources
    assert (begun.consumer, begun.cursor) == ("reverse-0", 0)
    assert begun.nonce != "r1"
    assert tell(before, way_back(7)).sources == (begun,)
    (renewed,) = tell(before, way_back(7, nonce="r2")).sources
    assert (renewed.nonce, renewed.cursor) == ("r2", 0)


def test_a_frozen_shard_does_not_begin_again() -> None:
    with pytest.raises(Refused):
        protocol.restart(tell(following(7), prepare(7)), 0)


def test_a_reading_that_is_over_does_not_begin_another_one_again() -> None:
    before = following(7)
    assert protocol.restart(before, 0, "of before") == before


async def test_a_source_outlives_a_restart_with_encoder_donors_and_lease(make) -> None:  # type: ignore[no-untyped-def]
    shard: Shard = make()
    source = FeedSource(
        shard=0, history="green", host="x:1", position=7, consumer="reverse-0", nonce="r1", encoder="http://encoder",
        donors=("y:1", "z:1"),
    )  # fmt: skip
    await shard.store.command(Follow(epoch=1, history=shard.store.state.protocol.history, sources=(source,)))
    before = shard.store.state.sources
    shard.reopen()
    assert shard.store.state.sources == before
    assert (before[0].encoder, before[0].consumer, before[0].given) == ("http://encoder", "reverse-0", "r1")
    assert before[0].donors == ("y:1", "z:1")
    await shard.store.command(
        Follow(
            epoch=1,
            history=shard.store.state.protocol.history,
            sources=(source.model_copy(update={"donors": (), "position": 0}),),
        )
    )
    assert shard.store.state.sources == (replace(before[0], donors=()),), "a donor that is gone costs no progress"


async def test_a_lease_that_prepare_opens_anew_is_not_the_one_before(make) -> None:  # type: ignore[no-untyped-def]
    shard: Shard = make()
    history = shard.store.state.protocol.history
    source = FeedSource(shard=0, history="blue", host="x:1")
    wanted = (ShardPosition(shard=0, history="blue", position=0),)
    for epoch, rebuild in ((1, "r1"), (2, "r2")):
        await shard.store.command(Follow(epoch=epoch, history=history, sources=(source,)))
        await shard.store.command(Prepare(epoch=epoch, history=history, rebuild_id=rebuild, sources=wanted))
        assert shard.store.leases["reverse-0"] == (rebuild, 0)
        page = shard.store.pull(Lease("reverse-0", rebuild, 0), history, lower=0, upper=1 << 64, with_vectors=False, limit=1)
        assert page.upto == 0


async def test_a_new_volume_is_closed_until_it_is_admitted(make) -> None:  # type: ignore[no-untyped-def]
    shard: Shard = make()
    assert shard.store.state.protocol.lost
    with pytest.raises(Refused) as refused:
        await shard.write(Change(Op.PUT, "a"))
    assert refused.value.code is Refusal.CLOSED
    await shard.admit()
    shard.reopen()
    assert shard.store.state.protocol.mode is Mode.OPEN
    assert not shard.store.state.protocol.lost


async def test_a_fence_outlives_a_restart_and_refuses_writes(shard: Shard) -> None:
    await shard.put("a")
    history = shard.store.state.protocol.history
    answer = await shard.store.command(Fence(epoch=2, history=history, deadline_seconds=5))
    shard.reopen()
    with pytest.raises(Refused) as refused:
        await shard.write(Change(Op.PUT, "b"))
    assert refused.value.code is Refusal.FENCED
    again = await shard.store.command(Fence(epoch=2, history=history, deadline_seconds=5))
    assert again.position == answer.position == shard.store.state.position
