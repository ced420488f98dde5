"""Texts on their way through the encoder, and the requests that wait for them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .engines.engine import Vectors
from .scheduler import Priority, Ticket
from .tokens import Tokens


@dataclass(slots=True, eq=False)
class Job:
    """One text to encode. Several requests may wait for it; without any, it is not worth running.

    `left` is called once, when the job is finished or dropped.
    """

    tokens: Tokens
    priority: Priority
    left: Callable[["Job"], None] = lambda job: None
    ticket: Ticket | None = None
    waiters: list[tuple["Gathering", int]] = field(default_factory=list)
    done: bool = False

    def finish(self, result: Vectors | Exception) -> None:
        self.drop()
        for gathering, index in self.waiters:
            gathering.put(index, result)
        self.waiters.clear()

    def drop(self) -> None:
        self.done = True
        self.left(self)


class Gathering:
    """The vectors of one request, filled in as its texts come out of the encoder."""

    def __init__(self, rows: int, row_shape: Sequence[int]) -> None:
        self.vectors: Vectors = np.empty((rows, *row_shape), dtype=np.float32)
        self.jobs: list[Job] = []
        self._missing = 0
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wait_for(self, job: Job, index: int) -> None:
        """Row `index` comes from `job`."""
        self._missing += 1
        self.jobs.append(job)
        job.waiters.append((self, index))

    def put(self, index: int, result: Vectors | Exception) -> None:
        if self._complete.done():
            return
        if isinstance(result, Exception):
            self._complete.set_exception(result)
            return
        self.vectors[index] = result
        self._missing -= 1
        if self._missing == 0:
            self._complete.set_result(None)

    async def complete(self) -> None:
        """Returns when every row is there. Raises what a job failed with."""
        if self._missing:
            await self._complete

    def abandon(self) -> list[Job]:
        """Stops waiting; the jobs that nobody waits for any more."""
        if not self._complete.cancel() and not self._complete.cancelled():
            self._complete.exception()  # asyncio complains of an exception that nobody has looked at
        for job in self.jobs:
            job.waiters = [waiter for waiter in job.waiters if waiter[0] is not self]
        return [job for job in self.jobs if not job.waiters and not job.done]
