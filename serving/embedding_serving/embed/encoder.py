"""Runs the engine: feeds its worker threads from the scheduler's queue, on the event loop's thread."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .encoder_input import padded
from .engines.engine import Engine, Vectors
from .jobs import Gathering, Job
from .metrics import Metrics
from .scheduler import BatchLimits, Priority, Scheduler, Ticket
from .tokens import Tokens

log = logging.getLogger(__name__)

MAX_RETRY_AFTER_SECONDS = 60
STUCK_SECONDS = 600.0
SICK_AFTER_FAILURES = 5


class EncodeFailed(Exception):
    """The engine failed on this text."""


class Encoder:
    """Owned by one event loop; only `_run` is called on worker threads.

    A batch is formed when a worker is free, not before: whatever arrived in the meantime is in it.
    """

    def __init__(self, engine: Engine, limits: BatchLimits, max_queued_tokens: int, metrics: Metrics) -> None:
        self.engine = engine
        self.scheduler = Scheduler(limits, max_queued_tokens)
        self._metrics = metrics
        self._jobs: dict[Ticket, Job] = {}
        self._running: dict[int, float] = {}
        self._batches = 0
        self._failures = 0
        self._tokens_per_second = 0.0
        self._dispatching = False
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(engine.concurrency, thread_name_prefix="encode")
        metrics.watch_queue(self)

    def submit(self, jobs: Sequence[Job], priority: Priority) -> None:
        """Queues texts, all or none. Raises QueueFull or LargerThanQueue."""
        tickets = self.scheduler.admit([len(job.tokens) for job in jobs], priority, time.monotonic())
        for job, ticket in zip(jobs, tickets, strict=True):
            job.ticket = ticket
            self._jobs[ticket] = job
        self._dispatch_soon()

    async def encode(self, texts: Sequence[Tokens], priority: Priority, row_shape: Sequence[int]) -> Vectors:
        """float32 [n, *row_shape]. Raises QueueFull, LargerThanQueue, EncodeFailed."""
        gathering = Gathering(len(texts), row_shape)
        jobs = [Job(tokens, priority) for tokens in texts]
        self.submit(jobs, priority)
        for index, job in enumerate(jobs):
            gathering.wait_for(job, index)
        try:
            await gathering.complete()
        except BaseException:
            self.abandon(gathering)
            raise
        return gathering.vectors

    def abandon(self, gathering: Gathering) -> None:
        """Takes what only this request waits for out of the queue."""
        for job in gathering.abandon():
            if job.ticket is not None and self.scheduler.cancel(job.ticket):
                del self._jobs[job.ticket]
                job.drop()

    def retry_after_seconds(self) -> int:
        """When the queue that stands now will be gone, by the speed of the last batches."""
        speed = self._tokens_per_second * self.engine.concurrency
        seconds = self.scheduler.queued_tokens / speed if speed else 1.0
        return max(1, min(MAX_RETRY_AFTER_SECONDS, math.ceil(seconds)))

    def sickness(self) -> str | None:
        """Why a restart is the remedy, or None: an engine that hangs, or that fails every batch."""
        longest = time.monotonic() - min(self._running.values(), default=time.monotonic())
        if longest > STUCK_SECONDS:
            return f"a batch has been running for {longest:.0f} s"
        if self._failures >= SICK_AFTER_FAILURES:
            return f"the last {self._failures} batches failed"
        return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _dispatch_soon(self) -> None:
        """Requests that are read in one turn of the event loop share a batch."""
        if not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        while len(self._running) < self.engine.concurrency:
            jobs = [self._jobs.pop(ticket) for ticket in self.scheduler.next_batch()]
            if not jobs:
                return
            self._batches += 1
            self._running[self._batches] = time.monotonic()
            self._threads.submit(self._run, self._batches, jobs)

    def _run(self, batch: int, jobs: list[Job]) -> None:
        started = time.perf_counter()
        results = encode_batch(self.engine, [job.tokens for job in jobs])
        seconds = time.perf_counter() - started
        try:
            self._loop.call_soon_threadsafe(self._finish, batch, jobs, results, seconds)
        except RuntimeError:
            log.debug("the event loop closed before batch %d came back", batch)

    def _finish(self, batch: int, jobs: list[Job], results: Sequence[Vectors | Exception], seconds: float) -> None:
        del self._running[batch]
        self._dispatch()
        for job, result in zip(jobs, results, strict=True):
            job.finish(result)
        tokens = sum(len(job.tokens) for job in jobs)
        failed = all(isinstance(result, Exception) for result in results)
        self._failures = self._failures + 1 if failed else 0
        speed = tokens / max(seconds, 1e-6)
        self._tokens_per_second += 0.1 * (speed - self._tokens_per_second) if self._tokens_per_second else speed
        longest = max(len(job.tokens) for job in jobs)
        self._metrics.batch(texts=len(jobs), tokens=tokens, padded_tokens=longest * len(jobs), seconds=seconds)


def encode_batch(engine: Engine, texts: Sequence[Tokens]) -> Sequence[Vectors | Exception]:
    """One vector (or what went wrong) a text. Where a batch fails, each text gets a second chance alone."""
    try:
        vectors = engine.encode(*padded(texts, engine.length_multiple))
    except Exception as error:
        log.exception("the engine failed on a batch of %d texts", len(texts))
        if len(texts) == 1:
            return [EncodeFailed(f"the engine failed: {type(error).__name__}")]
        return [encode_batch(engine, [text])[0] for text in texts]
    if np.isfinite(vectors).all():
        return vectors  # type: ignore[return-value]  # an array is a sequence of its rows
    return [row if np.isfinite(row).all() else EncodeFailed("the model gave a vector that is not finite") for row in vectors]
