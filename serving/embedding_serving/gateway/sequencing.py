"""One write to the writer of one shard: held while it is fenced, repeated while it is not known whether it was done.

The shard knows a write by its request id, so that a repetition is harmless and answers as the first did.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ..contract.admin import Refusal
from ..outgoing.deadline import Deadline
from ..outgoing.failures import Moved
from ..wire.client import Answer
from ..wire.errors import DEADLINE, CallFailed, DeadlineExceeded, WireError
from .failures import ShardRefused, ShardUnavailable
from .fanout import FAULTS_OF_THE_POD, FAULTS_OF_THE_QUESTION, MOVED
from .metrics import Metrics
from .pods import Copies, Pod
from .routes import Pin

FIRST_PAUSE_SECONDS = 0.01
LAST_PAUSE_SECONDS = 0.25
ATTEMPT_SECONDS = 10.0

HELD = frozenset({Refusal.FENCED, Refusal.CLOSED})
FINAL = FAULTS_OF_THE_QUESTION | {Refusal.VOLUME_FULL, Refusal.READ_ONLY, Refusal.CORRUPT, Refusal.NO_FOLLOWER}


class Sequencer:
    def __init__(self, metrics: Metrics, moved_on: Callable[[Pin], bool]) -> None:
        """moved_on: whether the route now names another writer generation than the pin's."""
        self._metrics = metrics
        self._moved_on = moved_on

    async def write(
        self, copies: Copies, pin: Pin, op: str, head: Mapping[str, Any], tail: bytes | memoryview, deadline: Deadline
    ) -> Answer:
        """Raises Moved, ShardRefused, ShardUnavailable; after the latter it may or may not have been done."""
        pause = FIRST_PAUSE_SECONDS
        reason, held_since = "", 0.0
        try:
            while not deadline.passed:
                if held_since and self._moved_on(pin):
                    raise Moved(f"shard {copies.shard}: a newer route came while the write was held")
                pod = copies.writer()
                if pod is None:
                    reason = reason or f"no copy takes writes: {copies.why_not()}"
                    await copies.changed(min(LAST_PAUSE_SECONDS, deadline.left()))
                    held_since = self._hold(held_since)
                    continue
                try:
                    return await self._once(copies, pod, pin, op, head, tail, deadline)
                except WireError as error:
                    reason = f"{error.detail} ({error.code})"
                    if error.code in HELD:
                        held_since = self._hold(held_since)
                    if error.code == Refusal.NOT_A_WRITER:
                        copies.kick()
                except CallFailed as error:
                    reason = f"{error}; whether the write was done is not known"
                    copies.kick()
                await asyncio.sleep(min(pause, deadline.left()))
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
        finally:
            if held_since:
                self._metrics.held_writes.dec()
                self._metrics.write_hold.observe(time.perf_counter() - held_since)
        raise ShardUnavailable([copies.shard], f"shard {copies.shard}: {reason or 'the time was over before it was asked'}")

    async def _once(
        self, copies: Copies, pod: Pod, pin: Pin, op: str, head: Mapping[str, Any], tail: bytes | memoryview, deadline: Deadline
    ) -> Answer:
        left = min(deadline.left(), ATTEMPT_SECONDS)
        message = {"op": op, **pin.head(), "deadline_ms": max(1, int(1000 * left)), **head}
        begun = time.perf_counter()
        pod.breaker.begin()
        try:
            # what was sent is not called back: a client that leaves cannot take a write with it
            answer = await asyncio.shield(pod.send(orjson.dumps(message), tail, left))
        except WireError as error:
            self._metrics.shard_error(copies.shard, error.code)
            if error.code == DEADLINE:
                pod.breaker.abandoned()
            elif error.code in FAULTS_OF_THE_POD:
                pod.failure = str(error)
                pod.breaker.failed()
            else:
                pod.breaker.succeeded()
            if error.code in MOVED:
                raise Moved(f"shard {copies.shard}: {error.detail}", error.route) from error
            if error.code in FINAL:
                raise ShardRefused(copies.shard, error.code, error.detail, error.field) from error
            raise
        except DeadlineExceeded:
            self._metrics.shard_error(copies.shard, DEADLINE)
            pod.breaker.abandoned()  # a write may wait for a follower or a disk: reads of the pod are not to suffer for it
            raise
        except CallFailed as error:
            self._metrics.shard_error(copies.shard, "lost")
            pod.failure = str(error)
            pod.breaker.failed()
            raise
        except BaseException:
            pod.breaker.abandoned()
            raise
        pod.breaker.succeeded()
        self._metrics.shard_call(copies.shard, op, time.perf_counter() - begun)
        copies.reached(answer.head.get("p"))
        return answer

    def _hold(self, since: float) -> float:
        """Answers since when the write has been held."""
        if since:
            return since
        self._metrics.held_writes.inc()
        self._metrics.fenced_writes.inc()
        return time.perf_counter()
