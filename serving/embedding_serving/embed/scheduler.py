"""Which waiting texts make the next batch. Pure: no clock, no threads, no I/O, no model.

A queue of tokenised texts, not of requests. When a worker is free it takes the oldest text, then the texts nearest to
it in length, as long as the padded batch stays within a token budget. There is no timer: a batch is what waits at the
moment a worker has nothing to do, so an idle server answers at once and a busy one fills its batches by itself.

Two rules bound what a text can suffer. The oldest text of a class leads its next batch, so nothing starves behind
better-fitting neighbours. Interactive texts go before bulk ones, but after `INTERACTIVE_STREAK` interactive batches in
a row the oldest bulk text leads one.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

INTERACTIVE_STREAK = 8


class Priority(IntEnum):
    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one batch.

    max_tokens: padded tokens, longest text x number of texts. A single text may exceed it (it then runs alone).
    max_texts: number of texts.
    padding_tokens: most tokens of padding that one more text may add. What a batch costs beyond its tokens, expressed
        in tokens: below it joining is cheaper than a batch of its own, above it the text waits for better company.
    """

    max_tokens: int
    max_texts: int
    padding_tokens: int


class QueueFull(Exception):
    """The queue has no room now; the same request may pass later."""

    def __init__(self, tokens: int, queued_tokens: int, max_queued_tokens: int) -> None:
        super().__init__(f"{tokens} tokens do not fit: {queued_tokens} of {max_queued_tokens} tokens are waiting already")


class LargerThanQueue(Exception):
    """The request alone is larger than the whole queue: no retry can help."""

    def __init__(self, tokens: int, max_queued_tokens: int) -> None:
        super().__init__(f"the request has {tokens} tokens, the queue holds {max_queued_tokens} at most")


@dataclass(slots=True, eq=False)
class Ticket:
    """One waiting text. Compared by identity; `waiting` turns false when it is batched or cancelled."""

    tokens: int
    priority: Priority
    arrived_seconds: float
    waiting: bool = True


@dataclass(slots=True)
class _Lane:
    """Waiting texts of one priority, by age and by length. Texts that left stay in the deques until they surface."""

    by_age: deque[Ticket] = field(default_factory=deque)
    by_length: dict[int, deque[Ticket]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    waiting_by_length: dict[int, int] = field(default_factory=dict)
    waiting: int = 0

    def add(self, ticket: Ticket) -> None:
        self.by_age.append(ticket)
        bucket = self.by_length.get(ticket.tokens)
        if bucket is None:
            bucket = self.by_length[ticket.tokens] = deque()
            self.waiting_by_length[ticket.tokens] = 0
            insort(self.lengths, ticket.tokens)
        bucket.append(ticket)
        self.waiting_by_length[ticket.tokens] += 1
        self.waiting += 1

    def leave(self, ticket: Ticket) -> None:
        ticket.waiting = False
        self.waiting -= 1
        self.waiting_by_length[ticket.tokens] -= 1
        if self.waiting_by_length[ticket.tokens] == 0:
            del self.by_length[ticket.tokens], self.waiting_by_length[ticket.tokens]
            del self.lengths[bisect_left(self.lengths, ticket.tokens)]
        self._compact()

    def oldest(self) -> Ticket | None:
        while self.by_age and not self.by_age[0].waiting:
            self.by_age.popleft()
        return self.by_age[0] if self.by_age else None

    def nearest(self, tokens: int, shortest: int, longest: int) -> Ticket | None:
        """The waiting text nearest in length to `tokens` among those of `shortest` to `longest` tokens.

        The longer one at a tie, the older one at equal length.
        """
        above = bisect_left(self.lengths, tokens)
        candidates = [length for length in self.lengths[max(0, above - 1) : above + 1] if shortest <= length <= longest]
        if not candidates:
            return None
        bucket = self.by_length[min(candidates, key=lambda length: (abs(length - tokens), -length))]
        while not bucket[0].waiting:
            bucket.popleft()
        return bucket[0]

    def _compact(self) -> None:
        """Keeps the memory of texts that left within a constant factor of those that wait."""
        if len(self.by_age) > 64 and len(self.by_age) > 4 * self.waiting:
            self.by_age = deque(ticket for ticket in self.by_age if ticket.waiting)
            for length, bucket in self.by_length.items():
                self.by_length[length] = deque(ticket for ticket in bucket if ticket.waiting)


class Scheduler:
    """The queue of one encoder. Not thread-safe: one owner calls it."""

    def __init__(self, limits: BatchLimits, max_queued_tokens: int) -> None:
        self.limits = limits
        self.max_queued_tokens = max_queued_tokens
        self.queued_tokens = 0
        self._lanes = {priority: _Lane() for priority in Priority}
        self._streak = 0

    @property
    def queued_texts(self) -> int:
        return sum(lane.waiting for lane in self._lanes.values())

    def admit(self, lengths: Sequence[int], priority: Priority, now_seconds: float) -> list[Ticket]:
        """Queues the texts of one request, all or none; one ticket a text, in order.

        Raises LargerThanQueue where the request could never fit, QueueFull where it does not fit now.
        """
        tokens = sum(lengths)
        if tokens > self.max_queued_tokens:
            raise LargerThanQueue(tokens, self.max_queued_tokens)
        if self.queued_tokens + tokens > self.max_queued_tokens:
            raise QueueFull(tokens, self.queued_tokens, self.max_queued_tokens)
        tickets = [Ticket(length, priority, now_seconds) for length in lengths]
        lane = self._lanes[priority]
        for ticket in tickets:
            lane.add(ticket)
        self.queued_tokens += tokens
        return tickets

    def cancel(self, ticket: Ticket) -> bool:
        """Takes a waiting text out of the queue. False where it is in a batch already."""
        if not ticket.waiting:
            return False
        self._leave(ticket)
        return True

    def next_batch(self) -> list[Ticket]:
        """The texts to run now, the oldest of its class first; empty where nothing waits."""
        lane = self._next_lane()
        leader = lane.oldest()
        if leader is None:
            return []
        self._leave(leader)
        batch = [leader]
        padded_to = leader.tokens
        shortest, longest = 0, self.limits.max_tokens
        while candidate := lane.nearest(leader.tokens, shortest, longest):
            if self._fits(len(batch), padded_to, candidate.tokens):
                self._leave(candidate)
                batch.append(candidate)
                padded_to = max(padded_to, candidate.tokens)
            elif candidate.tokens > padded_to:
                longest = candidate.tokens - 1
            else:
                shortest = candidate.tokens + 1
        return batch

    def oldest_age_seconds(self, now_seconds: float) -> float:
        """How long the oldest waiting text has waited; 0 where nothing waits."""
        arrivals = [ticket.arrived_seconds for lane in self._lanes.values() if (ticket := lane.oldest())]
        return max(0.0, now_seconds - min(arrivals)) if arrivals else 0.0

    def _next_lane(self) -> _Lane:
        interactive, bulk = self._lanes[Priority.INTERACTIVE], self._lanes[Priority.BULK]
        if interactive.waiting and not (bulk.waiting and self._streak >= INTERACTIVE_STREAK):
            self._streak += 1
            return interactive
        self._streak = 0
        return bulk

    def _fits(self, texts: int, padded_to: int, tokens: int) -> bool:
        limits = self.limits
        padded = max(padded_to, tokens) * (texts + 1)
        added_padding = padded - padded_to * texts - tokens
        return texts < limits.max_texts and padded <= limits.max_tokens and added_padding <= limits.padding_tokens

    def _leave(self, ticket: Ticket) -> None:
        self._lanes[ticket.priority].leave(ticket)
        self.queued_tokens -= ticket.tokens
