"""A fence belongs to the last epoch that asked for it: else the operator waits for one that stands already."""

from embedding_serving.contract.admin import Fence, Mode
from embedding_serving.shard.store import protocol
from embedding_serving.shard.store.records import Identity
from embedding_serving.shard.store.state import Counters, Fenced, Protocol, State


def test_a_fence_that_stands_is_taken_over_by_a_higher_epoch_at_its_old_position() -> None:
    before = Fenced(epoch=4, position=10, deadline_seconds=5.0, was_open=True)
    durable = Protocol(history="h1", epoch=4, mode=Mode.FENCED, opened_at=3, fenced=before)
    state = State(Identity(1, 0, 1, "f1", 4), durable, Counters(next_row=11))
    after, answer = protocol.command(state, Fence(epoch=6, history="h1", deadline_seconds=5.0))
    assert after.protocol.fenced is not None
    assert (after.protocol.fenced.epoch, after.protocol.fenced.position, after.protocol.fenced.was_open) == (6, 10, False)
    assert answer.position == 10
