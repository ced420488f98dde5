"""The asking end: one connection to one pod, many calls at once, a deadline a call.

`send` costs no task, so that a search of every shard is some writes and one wait. A future that is cancelled tells the
pod, which stops what it can. The connection never reconnects by itself: who calls knows the other copies.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, cast

import orjson

from .codec import (
    CONNECTION_CALL,
    LAST_CALL,
    VERSION,
    Buffer,
    Frame,
    FrameError,
    FrameParser,
    Kind,
    Limits,
    encode,
    parse_head,
    write,
)
from .errors import OVERLOADED, TOO_LARGE, CallFailed, ConnectionLost, DeadlineExceeded, WireError

LOOKS_AN_IDLE_TIME = 4
WRITE_HIGH_BYTES = 1 << 20


class Answer(NamedTuple):
    """tail: a view of the received bytes."""

    head: dict[str, Any]
    tail: memoryview


class AnswerFuture(asyncio.Future[Answer]):
    """Raises WireError, ConnectionLost, DeadlineExceeded when awaited."""

    connection: "Connection | None" = None
    call = CONNECTION_CALL
    deadline = 0.0

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and self.connection is not None:
            self.connection._cancelled(self.call)
        return cancelled


class Connection(asyncio.Protocol):
    """Made by `connect`. hello: what the pod last said of itself."""

    def __init__(self, limits: Limits) -> None:
        self.hello: dict[str, Any] = {}
        self.lost = asyncio.Event()
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser(limits.max_frame_bytes)
        self._calls: dict[int, AnswerFuture] = {}
        self._last_call = CONNECTION_CALL
        self._reason = "the connection was closed"
        self._room = asyncio.Event()
        self._room.set()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._next_deadline = float("inf")
        self._heard = self._last_heard = time.monotonic()
        self._silent_looks = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._peer = ""

    @classmethod
    async def connect(cls, host: str, port: int, *, peer: str, timeout: float, limits: Limits | None = None) -> Self:
        """Connects and says hello as `peer`. Raises ConnectionLost, DeadlineExceeded, WireError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(lambda: cls(limits or Limits()), host, port)
                connection._peer = peer
                try:
                    await connection.refresh(timeout)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            raise DeadlineExceeded(f"{host}:{port} did not answer within {timeout:g} s") from None
        except OSError as error:
            raise ConnectionLost(f"{host}:{port}: {error.strerror or error}") from error
        connection._watch_idle()
        return connection

    @property
    def outstanding(self) -> int:
        """Calls without an answer yet."""
        return len(self._calls)

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set() or self._transport.is_closing()

    async def refresh(self, timeout: float) -> dict[str, Any]:
        """Asks the pod again who it is (its mode and position change) and answers with `hello`."""
        answer = await self.call({"op": "hello", "version": VERSION, "peer": self._peer}, timeout=timeout)
        self.hello = answer.head
        return self.hello

    async def call(self, head: Mapping[str, Any] | bytes, tail: Buffer = b"", *, timeout: float) -> Answer:
        """Waits for room on a full connection, then for the answer, `timeout` seconds in all.

        head: a JSON object, or its bytes. Raises WireError, ConnectionLost, DeadlineExceeded.
        """
        if not self._room.is_set():
            deadline = time.monotonic() + timeout
            try:
                async with asyncio.timeout(timeout):
                    while not self._room.is_set():
                        await self._room.wait()
            except TimeoutError:
                raise DeadlineExceeded("the connection had no room for the call in time") from None
            timeout = deadline - time.monotonic()
        return await self.send(head, tail, timeout=timeout)

    def send(self, head: Mapping[str, Any] | bytes, tail: Buffer = b"", *, timeout: float) -> AnswerFuture:
        """Sends at once and answers with the future. On a full or lost connection the future has failed already."""
        future = AnswerFuture(loop=self._loop)
        failure = self._why_not()
        if failure is not None:
            _fail(future, failure)
            return future
        call = self._free_call()
        try:
            header = encode(call, Kind.REQUEST, head, len(tail), self._limits.max_frame_bytes)
        except FrameError as error:
            _fail(future, WireError(TOO_LARGE, str(error)))
            return future
        future.connection, future.call, future.deadline = self, call, time.monotonic() + timeout
        self._calls[call] = future
        if len(self._calls) >= self._limits.max_calls:
            self._room.clear()
        if future.deadline < self._next_deadline:
            self._arm(future.deadline)
        write(self._transport, header, (tail,))
        return future

    def close(self) -> None:
        """Calls without an answer fail with ConnectionLost."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._reason = f"the connection broke: {exc}"
        for timer in (self._deadline_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self.lost.set()
        self._room.set()
        calls, self._calls = self._calls, {}
        for future in calls.values():
            _fail(future, ConnectionLost(self._reason))

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        try:
            for frame in self._parser.feed(data):
                self._take(frame)
        except FrameError as error:
            self._reason = f"the other side sent no frame: {error}"
            self._transport.abort()

    def _take(self, frame: Frame) -> None:
        future = self._calls.pop(frame.call, None)
        if frame.call == CONNECTION_CALL and frame.kind == Kind.ERROR:
            self._reason = f"the other side ended the connection: {WireError.parse(parse_head(frame.head))}"
        if future is None or future.done():
            return
        head = parse_head(frame.head)
        if frame.kind == Kind.ANSWER:
            future.set_result(Answer(head, frame.tail))
        else:
            future.set_exception(WireError.parse(head))
        if not self._room.is_set():
            self._make_room()

    def _why_not(self) -> CallFailed | None:
        if self.is_lost:
            return ConnectionLost(self._reason)
        if not self._room.is_set():
            return WireError(OVERLOADED, f"{len(self._calls)} calls wait on this connection already")
        return None

    def _make_room(self) -> None:
        buffered = self._transport.get_write_buffer_size()
        if len(self._calls) < self._limits.max_calls and buffered <= WRITE_HIGH_BYTES:
            self._room.set()

    def _free_call(self) -> int:
        while True:
            self._last_call = self._last_call + 1 if self._last_call < LAST_CALL else CONNECTION_CALL + 1
            if self._last_call not in self._calls:
                return self._last_call

    def _cancelled(self, call: int) -> None:
        if self._calls.pop(call, None) is not None and not self.is_lost:
            head = orjson.dumps({"op": "cancel", "call": call})
            self._transport.write(encode(self._free_call(), Kind.REQUEST, head, 0, self._limits.max_frame_bytes))
            self._make_room()

    def _arm(self, deadline: float) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._next_deadline = deadline
        self._deadline_timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """One timer for all calls: most deadlines are never met, so they are looked at when the first may be due."""
        now = time.monotonic()
        self._deadline_timer, self._next_deadline = None, float("inf")
        for future in [future for future in self._calls.values() if future.deadline <= now]:
            _fail(future, DeadlineExceeded("no answer in time"))
            self._cancelled(future.call)
        if self._calls:
            self._arm(min(future.deadline for future in self._calls.values()))

    def _watch_idle(self) -> None:
        """Pings a pod that is silent, and gives it up when it stays so. Looks counted, not time: our own loop may stall."""
        self._silent_looks = self._silent_looks + 1 if self._heard == self._last_heard else 0
        self._last_heard = self._heard
        if self._silent_looks > LOOKS_AN_IDLE_TIME:
            self._reason = f"the other side was silent for {self._limits.idle_seconds:g} s"
            self._transport.abort()
            return
        if self._silent_looks and not self.is_lost:
            self._transport.write(encode(self._free_call(), Kind.REQUEST, b'{"op":"ping"}', 0, self._limits.max_frame_bytes))
        self._idle_timer = self._loop.call_later(self._limits.idle_seconds / LOOKS_AN_IDLE_TIME, self._watch_idle)


def _fail(future: AnswerFuture, failure: CallFailed) -> None:
    if not future.done():
        future.set_exception(failure)
        future.exception()
