"""Questions of one shape that come while others are under way are asked together.

To ask costs as much as several answers: a frame to every shard, a search to plan, an answer to take apart. So what would
wait for a busy shard anyway waits here, and goes with the next round. Who comes while a copy is idle never waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

MOST = 16
"""Questions of a round; one that is full waits for nothing."""
WAIT_SECONDS = 0.005
"""The longest that one waits for a round to end, whatever it is that keeps it."""


@dataclass(slots=True)
class _Shape(Generic[Q, A]):
    """begin: when the next round is to begin, None where nobody waits for one."""

    under_way: int = 0
    waiting: list[tuple[Q, asyncio.Future[A]]] = field(default_factory=list)
    begin: asyncio.Handle | None = None


class Together(Generic[Q, A]):
    """Belongs to the event loop."""

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        """ask: answers several questions of one shape, in their order. What it raises, all of them are told."""
        self._ask = ask
        self._shapes: dict[Hashable, _Shape[Q, A]] = {}
        self._rounds: set[asyncio.Task[None]] = set()

    async def ask(self, shape: Hashable, question: Q, rounds: int = 1) -> A:
        """rounds: as many of this shape are under way before one waits. Raises what the round raised that it went with."""
        loop = asyncio.get_running_loop()
        known = self._shapes.get(shape)
        if known is None:
            known = self._shapes[shape] = _Shape()
        answer: asyncio.Future[A] = loop.create_future()
        known.waiting.append((question, answer))
        if len(known.waiting) >= MOST:
            self._begin(shape, known)
        elif known.begin is None and known.under_way < rounds:
            known.begin = loop.call_soon(self._begin, shape, known)  # with all that has come by now
        elif known.begin is None:
            known.begin = loop.call_later(WAIT_SECONDS, self._begin, shape, known)
        return await answer

    def _begin(self, shape: Hashable, known: _Shape[Q, A]) -> None:
        if known.begin is not None:
            known.begin.cancel()
            known.begin = None
        waiting = [one for one in known.waiting if not one[1].done()]  # who has left asks nothing
        known.waiting = []
        if waiting:
            known.under_way += 1
            task = asyncio.ensure_future(self._round(shape, known, waiting))
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)
        elif not known.under_way:
            del self._shapes[shape]

    async def _round(self, shape: Hashable, known: _Shape[Q, A], waiting: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._ask([question for question, _ in waiting])
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), given in zip(waiting, answers, strict=True):
                if not answer.done():
                    answer.set_result(given)
        finally:
            self._ended(shape, known)

    def _ended(self, shape: Hashable, known: _Shape[Q, A]) -> None:
        known.under_way -= 1
        if known.begin is not None:
            known.begin.cancel()
            known.begin = asyncio.get_running_loop().call_soon(self._begin, shape, known)
        elif not known.under_way:
            del self._shapes[shape]
