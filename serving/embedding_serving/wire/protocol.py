"""The answering end of one connection: which calls run, which wait, and when nothing more is read."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from .calls import CANCELLED, OK, Call, Handler, Observer, Reply
from .codec import CONNECTION_CALL, VERSION, Frame, FrameError, FrameParser, Kind, Limits, encode, parse_head, write
from .errors import BAD_REQUEST, DEADLINE, INTERNAL, OVERLOADED, TOO_LARGE, UNKNOWN_OP, WireError

log = logging.getLogger(__name__)

HELLO_BYTES = 65_536
"""Largest frame of a caller that has not said hello."""
LOOKS_AN_IDLE_TIME = 4
CANCEL_BYTES = 64
"""Longer than the head of any cancel."""


@dataclass(slots=True)
class _Running:
    future: asyncio.Future[Reply]
    bytes_: int
    op: str
    received: float
    timer: asyncio.TimerHandle | None
    expired: bool = False


class ServerConnection(asyncio.Protocol):
    """Registers itself in `connections` while it is open."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        limits: Limits,
        connections: "set[ServerConnection]",
        observe: Observer | None,
        *,
        crowded: bool = False,
    ) -> None:
        self.closed = asyncio.Event()
        self.peer = ""
        self._handlers = handlers
        self._limits = limits
        self._connections = connections
        self._observe = observe
        self._crowded = crowded
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser(min(HELLO_BYTES, limits.max_frame_bytes))
        self._running: dict[int, _Running] = {}
        self._waiting: deque[tuple[Frame, float]] = deque()
        self._held_bytes = 0
        self._writable = True
        self._reading = True
        self._finishing = False
        self._heard = self._last_heard = time.monotonic()
        self._silent_looks = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def calls(self) -> int:
        return len(self._running) + len(self._waiting)

    def finish(self) -> None:
        """Takes no new call; closes when those that run are answered."""
        self._finishing = True
        self._close_if_finished()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._watch_idle()
        if self._crowded:
            self._end(WireError(OVERLOADED, "too many connections are open here: try another pod", retry_after=1.0))
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for running in list(self._running.values()):
            running.future.cancel()
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        try:
            for frame in self._parser.feed(data):
                if self._transport.is_closing():
                    return
                self._accept(frame)
        except FrameError as error:
            self._end(WireError(BAD_REQUEST, str(error)))

    def pause_writing(self) -> None:
        self._writable = False
        self._balance()

    def resume_writing(self) -> None:
        self._writable = True
        self._heard = time.monotonic()
        self._advance()

    def _accept(self, frame: Frame) -> None:
        """Raises FrameError where the connection cannot go on."""
        if frame.kind != Kind.REQUEST:
            raise FrameError(f"a frame of kind {frame.kind}: only requests are taken here")
        if frame.call == CONNECTION_CALL:
            raise FrameError("call 0 belongs to the connection")
        if self._waiting or self._is_full():
            if not self._cancels(frame):
                self._waiting.append((frame, self._heard))
                self._balance()
        else:
            self._start(frame, self._heard)

    def _start(self, frame: Frame, received: float) -> None:
        try:
            head = parse_head(frame.head)
            op = head.get("op")
            if not isinstance(op, str):
                raise FrameError("the head has no op")
        except FrameError as error:
            self._fail(frame.call, "", WireError(BAD_REQUEST, str(error)), received)
            return
        if op == "cancel":
            self._cancel(head.get("call"))
        elif not self.peer and not self._greeted(op, head):
            pass
        elif op == "ping":
            self._answer(frame.call, op, Reply(b"{}"), received)
        elif self._finishing:
            self._fail(frame.call, op, WireError(OVERLOADED, "this pod is stopping: try another", retry_after=0.0), received)
        elif frame.call in self._running:
            self._end(WireError(BAD_REQUEST, f"call {frame.call} is not answered yet"))
        else:
            self._handle(frame, op, head, received)

    def _greeted(self, op: str, head: dict[str, Any]) -> bool:
        if op != "hello":
            self._end(WireError(BAD_REQUEST, f"a connection begins with hello, not with {op}"))
        elif head.get("version") != VERSION:
            self._end(WireError(BAD_REQUEST, f"version {head.get('version')!r} of the frames is not known here: {VERSION} is"))
        else:
            self.peer = str(head.get("peer") or "?")[:256]
            self._parser.max_frame_bytes = self._limits.max_frame_bytes
        return bool(self.peer)

    def _handle(self, frame: Frame, op: str, head: dict[str, Any], received: float) -> None:
        handler = self._handlers.get(op)
        if handler is None:
            self._fail(frame.call, op, WireError(UNKNOWN_OP, f"there is no operation {op!r} here"), received)
            return
        try:
            deadline = _deadline(head, received)
            if deadline is not None and deadline <= time.monotonic():
                raise WireError(DEADLINE, "the deadline passed before the call was begun")
            reply = handler(Call(op, head, frame.tail, self.peer, deadline))
        except Exception as error:
            self._fail(frame.call, op, error, received)
            return
        if isinstance(reply, Reply):
            self._answer(frame.call, op, reply, received)
        else:
            self._run(frame, op, reply, deadline, received)

    def _run(self, frame: Frame, op: str, reply: Awaitable[Reply], deadline: float | None, received: float) -> None:
        future = asyncio.ensure_future(reply)
        timer = None if deadline is None else self._loop.call_at(deadline, self._expire, frame.call)
        size = len(frame.head) + len(frame.tail)
        self._running[frame.call] = _Running(future, size, op, received, timer)
        self._held_bytes += size
        future.add_done_callback(partial(self._ended, frame.call))
        self._balance()

    def _expire(self, call: int) -> None:
        self._running[call].expired = True
        self._running[call].future.cancel()

    def _ended(self, call: int, future: asyncio.Future[Reply]) -> None:
        running = self._running.pop(call)
        self._held_bytes -= running.bytes_
        if running.timer is not None:
            running.timer.cancel()
        if running.expired:
            self._fail(call, running.op, WireError(DEADLINE, "the deadline of the call passed"), running.received)
        elif future.cancelled():
            self._record(running.op, CANCELLED, running.received)
        elif (error := future.exception()) is not None:
            self._fail(call, running.op, error, running.received)
        else:
            self._answer(call, running.op, future.result(), running.received)
        self._advance()

    def _answer(self, call: int, op: str, reply: Reply, received: float) -> None:
        try:
            tail_bytes = sum(map(len, reply.tail))
            header = encode(call, Kind.ANSWER, reply.head, tail_bytes, self._limits.max_frame_bytes)
        except FrameError as error:
            self._fail(call, op, WireError(TOO_LARGE, str(error)), received)
            return
        except TypeError as error:
            self._fail(call, op, error, received)
            return
        self._record(op, OK, received)
        if not self._transport.is_closing():
            write(self._transport, header, reply.tail)

    def _fail(self, call: int, op: str, error: BaseException, received: float) -> None:
        if not isinstance(error, WireError):
            log.error("a call failed unexpectedly", exc_info=error, extra={"op": op, "peer": self.peer})
            error = WireError(INTERNAL, f"unexpected {type(error).__name__}: the log of this pod has the trace")
        self._record(op, error.code, received)
        self._write_error(call, error)

    def _write_error(self, call: int, error: WireError) -> None:
        if not self._transport.is_closing():
            self._transport.write(encode(call, Kind.ERROR, error.head(), 0, self._limits.max_frame_bytes))

    def _end(self, error: WireError) -> None:
        """Nothing on this connection can be trusted any more."""
        self._write_error(CONNECTION_CALL, error)
        self._transport.close()

    def _cancels(self, frame: Frame) -> bool:
        """A cancel is heard while calls wait, too."""
        if len(frame.head) > CANCEL_BYTES:
            return False
        try:
            head = parse_head(frame.head)
        except FrameError:
            return False
        if head.get("op") == "cancel":
            self._cancel(head.get("call"))
            return True
        return False

    def _cancel(self, call: Any) -> None:
        running = self._running.get(call)
        if running is not None:
            running.future.cancel()
        else:
            self._waiting = deque(waiting for waiting in self._waiting if waiting[0].call != call)

    def _is_full(self) -> bool:
        limits = self._limits
        return not self._writable or len(self._running) >= limits.max_calls or self._held_bytes >= limits.max_buffered_bytes

    def _advance(self) -> None:
        while self._waiting and not self._is_full() and not self._transport.is_closing():
            frame, received = self._waiting.popleft()
            self._start(frame, received)
        self._balance()
        self._close_if_finished()

    def _balance(self) -> None:
        """Reads only while there is room for what comes."""
        wanted = not self._waiting and not self._is_full()
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._heard = time.monotonic()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _close_if_finished(self) -> None:
        if self._finishing and not self.calls:
            self._transport.close()

    def _record(self, op: str, code: str, received: float) -> None:
        if self._observe is not None:
            self._observe(op if op in self._handlers else "other", code, time.monotonic() - received)

    def _watch_idle(self) -> None:
        """Closes a connection that says nothing or takes nothing. Looks counted, not time: our own loop may stall."""
        expected = self._reading or not self._writable
        self._silent_looks = self._silent_looks + 1 if expected and self._heard == self._last_heard else 0
        self._last_heard = self._heard
        if self._silent_looks > LOOKS_AN_IDLE_TIME:
            self._transport.abort()
            return
        self._idle_timer = self._loop.call_later(self._limits.idle_seconds / LOOKS_AN_IDLE_TIME, self._watch_idle)


def _deadline(head: dict[str, Any], received: float) -> float | None:
    milliseconds = head.get("deadline_ms")
    if milliseconds is None:
        return None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds > 0:
        raise WireError(BAD_REQUEST, "deadline_ms must be a number above 0", field="deadline_ms")
    return received + milliseconds / 1000
