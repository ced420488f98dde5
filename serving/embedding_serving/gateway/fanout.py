"""One question to some shards: each answers from one of its copies, within one deadline.

A first attempt is sent to every shard before any answer is waited for. What fails is asked of another copy, with a
breaker a pod. A reply of another generation or vector space than the pinned one ends the attempt for all: results of
two never meet.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from ..contract.admin import Refusal
from ..outgoing.deadline import Deadline
from ..outgoing.failures import Moved
from ..wire.client import Answer, AnswerFuture
from ..wire.errors import (
    BAD_REQUEST,
    DEADLINE,
    INTERNAL,
    TOO_LARGE,
    UNKNOWN_OP,
    CallFailed,
    ConnectionLost,
    DeadlineExceeded,
    WireError,
)
from .failures import ShardRefused, ShardUnavailable
from .metrics import Metrics
from .pods import Copies, Pod, Shards
from .routes import Pin

FIRST_SHARE = 0.5
"""Of the time that is left, what a first copy gets while there is another."""
PAUSE_SECONDS = 0.02
NO_COPY_SECONDS = 0.25
"""How long a read waits for a shard none of whose copies can be asked: long enough to connect, too short to restart."""
LOST_COPY_SECONDS = 5.0
"""After the last copy was lost, how long reads wait for one to be there again: a restart is rarely longer. A shard that has
been without for longer is not waited for, and where partial answers are allowed none is."""

MOVED = frozenset({Refusal.MOVED, Refusal.WRONG_GENERATION, Refusal.WRONG_FINGERPRINT})
FAULTS_OF_THE_QUESTION = frozenset(
    {BAD_REQUEST, TOO_LARGE, UNKNOWN_OP, Refusal.REQUEST_EXPIRED, Refusal.IDEMPOTENCY_KEY_REUSED}
)
FAULTS_OF_THE_POD = frozenset({INTERNAL, DEADLINE, Refusal.CORRUPT})
"""What counts for the breaker; the rest says that a pod is well and busy, or not the right one."""


class Frame(NamedTuple):
    op: str
    head: Mapping[str, Any]
    tail: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Question:
    """Frames that one copy of a shard answers together: row numbers are the copy's own.

    strong: of the writer alone. positions: by shard, what a copy must have caught up with.
    """

    frames: Sequence[Frame]
    strong: bool = False
    positions: Mapping[int, int] = field(default_factory=dict)


class Reply(NamedTuple):
    """answers: one a frame, from `pod`."""

    shard: int
    pod: Pod
    answers: Sequence[Answer]


class Replies(NamedTuple):
    """replies: of the shards that answered, in order; failed: why the others did not."""

    replies: Sequence[Reply]
    failed: Mapping[int, str]


class _Sent(NamedTuple):
    pod: Pod
    futures: Sequence[AnswerFuture]
    begun: float


@dataclass(slots=True)
class Fanout:
    """left: whether a newer route sends no reads to a pin's generation any more. Nobody waits for its shards then.

    lost_copy_seconds: how long reads wait for a shard that has just lost its last copy.
    """

    metrics: Metrics
    left: Callable[[Pin], bool] = lambda _pin: False
    lost_copy_seconds: float = LOST_COPY_SECONDS

    async def ask(
        self,
        shards: Shards,
        pin: Pin,
        question: Callable[[int], Question],
        numbers: Iterable[int],
        deadline: Deadline,
        *,
        partial: bool = False,
    ) -> Replies:
        """question: of a shard's number. Raises Moved, ShardRefused, ShardUnavailable (with `partial`: if none answers)."""
        asked: list[tuple[Copies, Question, _Sent | None]] = []
        for number in numbers:
            copies = shards.copies[number]
            asked.append((copies, one := question(number), self._first(copies, one, pin, deadline)))
        replies: list[Reply] = []
        again: list[tuple[Copies, Question, Pod | None, str]] = []
        try:
            for index, (copies, one, sent) in enumerate(asked):
                if sent is None:
                    again.append((copies, one, None, ""))
                    continue
                asked[index] = (copies, one, None)
                try:
                    replies.append(await self._reply(copies, pin, sent))
                except CallFailed as error:
                    again.append((copies, one, sent.pod, _judged(copies.shard, error)))
        finally:
            for *_, sent in asked:
                if sent is not None:
                    _give_up(sent)
        failed: dict[int, str] = {}
        if again:
            await self._again(again, pin, deadline, 0.0 if partial else self.lost_copy_seconds, replies, failed)
        if failed and (not partial or not replies):
            detail = "; ".join(f"shard {shard}: {reason}" for shard, reason in failed.items())
            raise ShardUnavailable(list(failed), detail)
        return Replies(replies, failed)

    async def ask_pods(
        self, shards: Shards, pin: Pin, asked: Sequence[tuple[int, Pod, Frame]], deadline: Deadline
    ) -> list[Answer | ShardRefused]:
        """Asks these pods and no others: (shard, pod, frame) each. Raises Moved, ShardUnavailable."""
        waiting: list[tuple[Copies, _Sent]] = []
        answers: list[Answer | ShardRefused] = []
        try:
            for shard, pod, frame in asked:
                if not pod.connected:
                    raise ShardUnavailable([shard], f"shard {shard}: the copy that was asked has gone")
                copies = shards.copies[shard]
                waiting.append((copies, _send(copies, pod, Question([frame]), pin, deadline)))
            while waiting:
                copies, sent = waiting.pop(0)
                try:
                    answers.append((await self._reply(copies, pin, sent)).answers[0])
                except CallFailed as error:
                    answers.append(_refusal(copies.shard, error))
        finally:
            for _, sent in waiting:
                _give_up(sent)
        return answers

    async def _again(
        self,
        failed_first: Sequence[tuple[Copies, Question, Pod | None, str]],
        pin: Pin,
        deadline: Deadline,
        patience: float,
        replies: list[Reply],
        failed: dict[int, str],
    ) -> None:
        tasks = [asyncio.ensure_future(self._retry(*one, pin, deadline, patience)) for one in failed_first]
        try:
            for (copies, *_), task in zip(failed_first, tasks, strict=True):
                try:
                    replies.append(await task)
                except ShardUnavailable as error:
                    failed[copies.shard] = error.detail
        finally:
            for task in tasks:
                task.cancel()
        replies.sort(key=lambda reply: reply.shard)

    async def _retry(
        self, copies: Copies, question: Question, tried: Pod | None, reason: str, pin: Pin, deadline: Deadline, patience: float
    ) -> Reply:
        """Other copies first, then any, until one answers or the time is over.

        patience: seconds after the last copy was lost.
        """
        copies.kick()
        avoided = {tried}
        until_none = max(time.monotonic() + NO_COPY_SECONDS, copies.seen + patience)
        while True:
            if deadline.passed or self.left(pin):
                raise ShardUnavailable([copies.shard], reason or copies.why_not())
            candidates = _candidates(copies, question)
            if question.positions:
                candidates.sort(key=lambda one: not one.is_writer)
            pod = next((pod for pod in candidates if pod not in avoided), None)
            if pod is None:
                avoided.clear()
                if not candidates:
                    reason = copies.why_not()
                    if time.monotonic() > until_none and not question.strong:
                        raise ShardUnavailable([copies.shard], reason)
                await copies.changed(min(PAUSE_SECONDS, deadline.left()))
                pod = next(iter(_candidates(copies, question)), None)
                if pod is None:
                    continue
            others = len([one for one in candidates if one not in avoided and one is not pod])
            until = deadline.share(FIRST_SHARE) if others else deadline
            try:
                return await self._reply(copies, pin, _send(copies, pod, question, pin, until))
            except CallFailed as error:
                reason = _judged(copies.shard, error)
                avoided.add(pod)

    def _first(self, copies: Copies, question: Question, pin: Pin, deadline: Deadline) -> _Sent | None:
        candidates = _candidates(copies, question)
        if not candidates:
            return None
        until = deadline.share(FIRST_SHARE) if len(candidates) > 1 else deadline
        return _send(copies, candidates[0], question, pin, until)

    async def _reply(self, copies: Copies, pin: Pin, sent: _Sent) -> Reply:
        """Raises CallFailed, Moved, and what `_judged` does."""
        breaker = sent.pod.breaker
        try:
            answers = [await future for future in sent.futures]
        except WireError as error:
            if error.code in FAULTS_OF_THE_POD:
                self._failed(copies, sent, error)
            else:
                breaker.succeeded()
            self.metrics.shard_error(copies.shard, error.code)
            if error.code in MOVED:
                copies.kick()
                raise Moved(f"shard {copies.shard}: {error.detail}", error.route) from error
            raise
        except CallFailed as error:
            self.metrics.shard_error(copies.shard, "lost" if isinstance(error, ConnectionLost) else DEADLINE)
            self._failed(copies, sent, error)
            raise
        except BaseException:
            breaker.abandoned()
            raise
        finally:
            if len(sent.futures) > 1:
                _cancel(sent)
        breaker.succeeded()
        self.metrics.shard_call(copies.shard, "read", time.perf_counter() - sent.begun)
        for answer in answers:
            _check(copies.shard, pin, answer)
        if sent.pod.is_writer:
            copies.reached(answers[0].head.get("p"))
        return Reply(copies.shard, sent.pod, answers)

    def _failed(self, copies: Copies, sent: _Sent, error: CallFailed) -> None:
        sent.pod.failure = str(error)
        sent.pod.breaker.failed()
        copies.kick()


def _candidates(copies: Copies, question: Question) -> list[Pod]:
    if question.strong:
        writer = copies.writer()
        return [] if writer is None else [writer]
    return copies.readers()


def _send(copies: Copies, pod: Pod, question: Question, pin: Pin, deadline: Deadline) -> _Sent:
    left = deadline.left()
    common = pin.head() | {"deadline_ms": max(1, int(1000 * left)), "consistency": "strong" if question.strong else "eventual"}
    position = question.positions.get(copies.shard)
    if position is not None and not pod.is_writer:  # the writer has all that was acknowledged
        common["position"] = position
    if pin.canary:
        common["canary"] = True
    pod.breaker.begin()
    begun = time.perf_counter()
    futures = [pod.send(orjson.dumps({"op": frame.op, **common, **frame.head}), frame.tail, left) for frame in question.frames]
    return _Sent(pod, futures, begun)


def _give_up(sent: _Sent) -> None:
    """Nobody waits for it any more, so nothing is learnt of the pod."""
    _cancel(sent)
    sent.pod.breaker.abandoned()


def _cancel(sent: _Sent) -> None:
    for future in sent.futures:
        if not future.done():
            future.cancel()


def _check(shard: int, pin: Pin, answer: Answer) -> None:
    head = answer.head
    if head.get("g") != pin.generation.generation or head.get("f") != pin.generation.fingerprint:
        raise Moved(f"shard {shard} answered for generation {head.get('g')}, fingerprint {head.get('f')}")


def _refusal(shard: int, error: CallFailed) -> ShardRefused:
    """Raises ShardUnavailable where the fault is the pod's."""
    try:
        reason = _judged(shard, error)
    except ShardRefused as refused:
        return refused
    raise ShardUnavailable([shard], f"shard {shard}: {reason}") from error


def _judged(shard: int, error: CallFailed) -> str:
    """Why another copy should be asked. Raises ShardRefused where none could do better."""
    if isinstance(error, WireError):
        if error.code in FAULTS_OF_THE_QUESTION:
            raise ShardRefused(shard, error.code, error.detail, error.field) from error
        return f"{error.detail} ({error.code})"
    return "no answer in time" if isinstance(error, DeadlineExceeded) else str(error)
