import random
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedding_serving.embed.scheduler import (
    INTERACTIVE_STREAK,
    BatchLimits,
    LargerThanQueue,
    Priority,
    QueueFull,
    Scheduler,
    Ticket,
)

ANY_PADDING = 10**9
LENGTHS = st.integers(1, 300)
PRIORITIES = st.sampled_from(Priority)


def scheduler(max_tokens: int = 512, max_texts: int = 64, padding: int = ANY_PADDING, room: int = 10**9) -> Scheduler:
    return Scheduler(BatchLimits(max_tokens, max_texts, padding), room)


def lengths(batch: list[Ticket]) -> list[int]:
    return [ticket.tokens for ticket in batch]


def test_an_empty_queue_gives_an_empty_batch() -> None:
    assert scheduler().next_batch() == []


def test_the_oldest_leads_and_its_nearest_in_length_follow() -> None:
    queue = scheduler(max_tokens=59)
    queue.admit([10, 200, 11, 3, 12, 9], Priority.BULK, 0.0)
    assert lengths(queue.next_batch()) == [10, 11, 9, 12]
    assert lengths(queue.next_batch()) == [200]
    assert lengths(queue.next_batch()) == [3]


def test_a_shorter_text_still_joins_where_a_longer_one_breaks_the_budget() -> None:
    queue = scheduler(max_tokens=20)
    queue.admit([10, 11, 8], Priority.BULK, 0.0)
    assert lengths(queue.next_batch()) == [10, 8]


def test_a_text_joins_only_where_it_adds_little_padding() -> None:
    queue = scheduler(padding=16)
    queue.admit([100, 84, 83, 5], Priority.BULK, 0.0)
    assert lengths(queue.next_batch()) == [100, 84]


def test_a_text_above_the_budget_runs_alone() -> None:
    queue = scheduler(max_tokens=100)
    queue.admit([5_000, 5], Priority.BULK, 0.0)
    assert lengths(queue.next_batch()) == [5_000]


def test_interactive_texts_go_before_bulk_and_are_not_slowed_by_it() -> None:
    queue = scheduler()
    queue.admit([10] * 4, Priority.BULK, 0.0)
    queue.admit([10], Priority.INTERACTIVE, 1.0)
    assert [ticket.priority for ticket in queue.next_batch()] == [Priority.INTERACTIVE]


def test_bulk_gets_its_turn_under_endless_interactive_load() -> None:
    queue = scheduler()
    queue.admit([10], Priority.BULK, 0.0)
    for _ in range(INTERACTIVE_STREAK):
        queue.admit([10], Priority.INTERACTIVE, 1.0)
        assert queue.next_batch()[0].priority is Priority.INTERACTIVE
    queue.admit([10], Priority.INTERACTIVE, 1.0)
    assert queue.next_batch()[0].priority is Priority.BULK


def test_a_full_queue_refuses_a_batch_as_it_refuses_a_single_text() -> None:
    queue = scheduler(room=100)
    queue.admit([60], Priority.BULK, 0.0)
    for request in ([50], [25, 25]):
        with pytest.raises(QueueFull, match=r"60 of 100 tokens are waiting"):
            queue.admit(request, Priority.INTERACTIVE, 0.0)
    assert queue.queued_tokens == 60


def test_a_request_above_the_whole_queue_is_refused_for_good() -> None:
    with pytest.raises(LargerThanQueue, match="has 101 tokens, the queue holds 100"):
        scheduler(room=100).admit([50, 51], Priority.BULK, 0.0)


def test_a_cancelled_text_is_skipped_and_makes_room() -> None:
    queue = scheduler(room=20)
    first, second = queue.admit([10, 10], Priority.BULK, 0.0)
    assert queue.cancel(first)
    assert not queue.cancel(first)
    queue.admit([10], Priority.BULK, 0.0)
    batch = queue.next_batch()
    assert first not in batch
    assert second in batch


def test_the_oldest_age_is_of_the_oldest_that_still_waits() -> None:
    queue = scheduler()
    (first,) = queue.admit([10], Priority.BULK, 1.0)
    queue.admit([10], Priority.INTERACTIVE, 5.0)
    assert queue.oldest_age_seconds(11.0) == 10.0
    queue.cancel(first)
    assert queue.oldest_age_seconds(11.0) == 6.0
    queue.next_batch()
    assert queue.oldest_age_seconds(11.0) == 0.0


@given(
    st.lists(st.tuples(LENGTHS, PRIORITIES), max_size=200),
    st.integers(1, 1_000),
    st.integers(1, 32),
    st.integers(0, 200),
)
def test_each_text_runs_exactly_once_within_the_budget_oldest_first(
    texts: list[tuple[int, Priority]], max_tokens: int, max_texts: int, padding: int
) -> None:
    queue = scheduler(max_tokens, max_texts, padding)
    admitted = [queue.admit([tokens], priority, index)[0] for index, (tokens, priority) in enumerate(texts)]
    waiting = {priority: [ticket for ticket in admitted if ticket.priority is priority] for priority in Priority}
    ran: Counter[Ticket] = Counter()
    while batch := queue.next_batch():
        ran.update(batch)
        padded = max(lengths(batch)) * len(batch)
        assert len(batch) <= max_texts
        assert padded <= max_tokens or len(batch) == 1
        lane = waiting[batch[0].priority]
        assert batch[0] is lane[0]
        for ticket in batch:
            lane.remove(ticket)
    assert ran == Counter(admitted)
    assert (queue.queued_tokens, queue.queued_texts) == (0, 0)


class QueueUnderUse(RuleBasedStateMachine):
    """Admissions, cancellations and batches in any order, beside a plain list of what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 2_000
        self.queue = scheduler(max_tokens=256, max_texts=16, padding=32, room=self.room)
        self.waiting: list[Ticket] = []
        self.batches_without: Counter[Ticket] = Counter()
        self.clock = 0.0

    @rule(tokens=st.lists(LENGTHS, max_size=12), priority=PRIORITIES)
    def admit(self, tokens: list[int], priority: Priority) -> None:
        self.clock += 1
        fits = sum(tokens) <= self.room - self.queue.queued_tokens
        try:
            self.waiting += self.queue.admit(tokens, priority, self.clock)
            assert fits
        except (QueueFull, LargerThanQueue):
            assert not fits

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        assert self.queue.cancel(ticket)
        self.waiting.remove(ticket)

    @rule()
    def run_batch(self) -> None:
        oldest = {priority: next((t for t in self.waiting if t.priority is priority), None) for priority in Priority}
        batch = self.queue.next_batch()
        assert bool(batch) == bool(self.waiting)
        for ticket in batch:
            self.waiting.remove(ticket)
        for passed_over in filter(None, oldest.values()):
            if passed_over not in batch:
                self.batches_without[passed_over] += 1
                assert self.batches_without[passed_over] <= INTERACTIVE_STREAK, "the oldest of a class starves"

    @invariant()
    def counts_are_right(self) -> None:
        assert self.queue.queued_tokens == sum(ticket.tokens for ticket in self.waiting)
        assert self.queue.queued_texts == len(self.waiting)


TestQueueUnderUse = QueueUnderUse.TestCase
TestQueueUnderUse.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_a_hundred_thousand_waiting_texts_cost_no_more_a_batch_than_a_thousand() -> None:
    """Counted in comparisons of lengths, not in time: the work of a batch must not grow with the queue."""
    assert _steps_of_a_batch(100_000) <= 2 * _steps_of_a_batch(1_000)


def _steps_of_a_batch(texts: int) -> int:
    chooser = random.Random(7)
    queue = scheduler(max_tokens=512, max_texts=64, padding=16)
    for _ in range(texts):
        queue.admit([chooser.randint(3, 256)], Priority.BULK, 0.0)
    steps = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    for _ in range(10):
        queue.next_batch()
    sys.setprofile(None)
    return steps
