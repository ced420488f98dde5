"""Documents as a stream of lines, of any length, in bounded memory.

In: NDJSON, a document a line, as an export has it too. An empty line is skipped and counts as a line.
`{"id": ..., "delete": true}` deletes.
Out: NDJSON. A line for every document that was not stored, with its line number and why; from time to time how far the
stream is durable; at the end the sums. `results=all` has a line for every stored document too.

Resuming: under one Idempotency-Key a stream may be sent again, whole, or from the line after `durable_line` with
`from_line`; what was stored before is not stored twice. Shards know a request by its id, so the lines of a block share
one, and what they have twice in a block gets one of its own.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from ..http.body import kind
from ..http.exchange import Exchange, HungUp
from ..http.problems import ApiError, invalid
from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Priority
from ..outgoing.failures import Unavailable
from .document_request import Change, parse_delete, parse_exported
from .errors import error_of
from .export import NDJSON, SEND_SECONDS
from .gate import Call
from .members import Space, check_members
from .service import Service
from .writes import WriteRequest

PARAMETERS = ("results", "from_line", "fingerprint", "model", "revision")
BLOCK_LINES = 128
BATCH_BYTES = 1 << 20
BATCHES_AT_ONCE = 4
MAX_LINE_BYTES = 4 << 20
IDLE_SECONDS = 30.0
FLUSH_SECONDS = 0.2
PASSING = frozenset(
    {"shard_unavailable", "shard_failed", "volume_full", "read_only", "corrupt", "no_follower", "request_expired", "internal"}
)
"""Errors of a document that sending it again later may mend: they end the stream."""
HELD_ANSWER_BYTES = 1 << 20
"""Answers that may wait for a client which sends on without reading; beyond, nothing more is read from it."""


@dataclass(slots=True)
class Line:
    number: int
    change: Change


@dataclass(slots=True)
class Batch:
    """Lines of one block that go out together."""

    request_id: str
    last_line: int
    lines: list[Line] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    bytes_: int = 0


class Stopped(Unavailable):
    """A document was not stored for a reason that may pass."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Bulk:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def stream(self, call: Call) -> None:
        given = call.parameters
        first_line = _first_line(given.get("from_line", "1"))
        if given.get("results", "errors") not in ("errors", "all"):
            raise invalid("results", "results takes errors or all")
        self._service.routes.active()
        request = self._service.write_request(call, "bulk", Priority.BULK)
        space = Space(given.get("fingerprint"), given.get("model"), given.get("revision"))
        await _Stream(self._service, call.exchange, request, space, first_line, every=given.get("results") == "all").run()


class _Stream:
    def __init__(
        self, service: Service, exchange: Exchange, request: WriteRequest, space: Space, first_line: int, *, every: bool
    ) -> None:
        self._service = service
        self._exchange = exchange
        self._request = request
        self._space = space
        self._first_line = first_line
        self._every = every
        self._line = first_line - 1
        self._durable = first_line - 1
        self._accepted = self._failed = 0
        self._batch: Batch | None = None
        self._seen: set[str] = set()
        """Ids of the block under way."""
        self._running: list[tuple[Batch, asyncio.Task[list[dict[str, Any]]]]] = []
        self._answers = _Answers(exchange)

    async def run(self) -> None:
        await self._exchange.begin(NDJSON)
        sender = asyncio.create_task(self._answers.send())
        sender.add_done_callback(_looked_at)
        try:
            end = await self._taken()
            sums = {"lines": self._line, "accepted": self._accepted, "failed": self._failed, "durable_line": self._durable}
            self._answers.finish(end | sums)
            await sender
            await self._exchange.end()
        finally:
            sender.cancel()
            for _, task in self._running:
                task.cancel()

    async def _taken(self) -> dict[str, Any]:
        """The beginning of the last answer. What can be sent again later ends the stream: it goes on from what is durable."""
        try:
            await self._take_all()
            await self._settle(0)
            self._durable = self._line
        except HungUp:
            raise
        except Exception as failure:
            error = error_of(failure)
            if error is None:
                raise
            if isinstance(failure, ApiError):  # the stream itself is at fault: what came before it counts
                with contextlib.suppress(Unavailable):
                    await self._settle(0)
            return {"done": False, "error": {"code": error.code, "detail": error.detail}}
        return {"done": True}

    async def _take_all(self) -> None:
        async for line in self._lines():
            if line is None:  # the client pauses: what came is stored meanwhile
                await self._flush()
                await self._settle_done()
                continue
            self._line += 1
            if (self._line - 1) % BLOCK_LINES == 0:
                await self._end_block(self._line - 1)
            if not line.strip():
                continue
            change = self._parsed(line)
            if change is not None:
                await self._add(Line(self._line, change))
        await self._flush()

    async def _add(self, line: Line) -> None:
        id_ = line.change.id
        block = f"{self._request.request_id}:{(line.number - 1) // BLOCK_LINES}"
        again = id_ in self._seen
        if again or any(id_ in running.ids for running, _ in self._running):
            await self._flush()
            await self._settle(0)
        if again:
            self._batch = Batch(f"{block}:{line.number}", line.number, [line], {id_})
            await self._flush()
            await self._settle(0)
            return
        self._seen.add(id_)
        batch = self._batch = self._batch or Batch(block, line.number)
        batch.lines.append(line)
        batch.ids.add(id_)
        batch.last_line = line.number
        batch.bytes_ += line.change.bytes_
        if batch.bytes_ >= BATCH_BYTES:
            await self._flush()

    def _parsed(self, line: bytes) -> Change | None:
        """None after an answer that says what is wrong with the line."""
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ApiError(413, "line_too_long", f"a line has at most {MAX_LINE_BYTES} bytes")
            change = _change(line, self._space)
            self._service.writes.check(change)
            return change
        except ApiError as error:
            self._fail(self._line, None, {"code": error.code, "detail": error.detail} | _field(error))
            return None

    async def _flush(self) -> None:
        """Sends off what is gathered; waits while as many as may be are under way."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        await self._settle(BATCHES_AT_ONCE - 1)
        await self._answers.room()
        self._running.append((batch, asyncio.create_task(self._write(batch))))

    async def _end_block(self, line: int) -> None:
        """The block's last line may be empty or faulty: it is durable with the last batch all the same."""
        self._seen.clear()
        batch = self._batch or (self._running[-1][0] if self._running else None)
        if batch is None:
            self._reached(line)
        else:
            batch.last_line = line
        await self._flush()

    async def _write(self, batch: Batch) -> list[dict[str, Any]]:
        deadline = Deadline.after(self._service.settings.write_timeout_seconds)
        now = time.time_ns() // 1_000_000
        request = replace(self._request, request_id=batch.request_id, issued_at=now, deadline=deadline)
        written = await self._service.writes.apply([line.change for line in batch.lines], request)
        return written.results

    async def _settle_done(self) -> None:
        while self._running and self._running[0][1].done():
            await self._settle(len(self._running) - 1)

    async def _settle(self, most: int) -> None:
        """Takes in the results of batches, in order, until at most so many are under way.

        Raises Unavailable for what may work later: nothing after it counts as durable.
        """
        while len(self._running) > most:
            batch, task = self._running[0]
            await asyncio.wait([task])
            self._running.pop(0)
            for line, result in zip(batch.lines, task.result(), strict=True):
                error = result.get("error")
                if error is None:
                    self._accepted += 1
                    if self._every:
                        self._answers.add({"line": line.number, **result, "durable_line": self._durable})
                elif error["code"] in PASSING:
                    raise Stopped(error["code"], error["detail"])
                else:
                    self._fail(line.number, line.change.id, error)
            self._reached(batch.last_line)

    def _reached(self, line: int) -> None:
        """Every line up to `line` has its result; what is told is the end of a block, where a stream can be resumed."""
        if self._running:
            line = min(line, self._running[0][0].lines[0].number - 1)
        whole = line // BLOCK_LINES * BLOCK_LINES
        if whole > self._durable:
            self._durable = whole
            self._answers.progress({"durable_line": whole, "accepted": self._accepted, "failed": self._failed})

    def _fail(self, number: int, id_: str | None, error: dict[str, Any]) -> None:
        self._failed += 1
        line: dict[str, Any] = {"line": number}
        if id_ is not None:
            line["id"] = id_
        self._answers.add(line | {"error": error, "durable_line": self._durable})

    async def _lines(self) -> AsyncIterator[bytes | None]:
        """Lines without their ends; None where the client pauses. A line that is too long is cut, not kept."""
        held = bytearray()
        async for part in _or_none(self._exchange.parts(IDLE_SECONDS), FLUSH_SECONDS):
            if part is None:
                yield None
                continue
            start = 0
            while (end := part.find(b"\n", start)) >= 0:
                held += part[start:end]
                yield bytes(held)
                held.clear()
                start = end + 1
            if len(held) <= MAX_LINE_BYTES:
                held += part[start:]
        if held:
            yield bytes(held)


class _Answers:
    """Lines on their way to the client. One that only sends and does not read yet holds up nothing but its own answers:
    of how far it is durable, the last word is enough."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lines: list[bytes] = []
        self._bytes = 0
        self._progress: bytes | None = None
        self._finished = False
        self._news = asyncio.Event()
        self._sent = asyncio.Event()
        self._failure: BaseException | None = None

    def add(self, answer: dict[str, Any]) -> None:
        line = orjson.dumps(answer) + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        self._news.set()

    def progress(self, answer: dict[str, Any]) -> None:
        self._progress = orjson.dumps(answer) + b"\n"
        self._news.set()

    def finish(self, answer: dict[str, Any]) -> None:
        """The last line: how far it is durable stands in it."""
        self._progress = None
        self._finished = True
        self.add(answer)

    async def room(self) -> None:
        """Waits while too much is unread. Raises HungUp where the client has stopped reading for good."""
        while self._bytes > HELD_ANSWER_BYTES and self._failure is None:
            self._sent.clear()
            await self._sent.wait()
        if self._failure is not None:
            raise HungUp

    async def send(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._lines or self._progress:
                    await self._exchange.send_part(self._take(), SEND_SECONDS)
                    self._sent.set()
                if self._finished:
                    return
        except BaseException as failure:
            self._failure = failure
            self._sent.set()
            raise

    def _take(self) -> bytes:
        taken = b"".join([*self._lines, self._progress or b""])
        self._lines.clear()
        self._bytes, self._progress = 0, None
        return taken


async def _or_none(parts: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes | None]:
    """The parts, and None once whenever the next takes longer than this."""
    waiting: asyncio.Future[bytes] | None = None
    try:
        while True:
            waiting = asyncio.ensure_future(anext(parts))
            done, _ = await asyncio.wait([waiting], timeout=seconds)
            if not done:
                yield None
            try:
                part = await waiting
            except StopAsyncIteration:
                return
            yield part
    finally:
        if waiting is not None:
            waiting.cancel()


def _change(line: bytes, space: Space) -> Change:
    """Raises ApiError."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "invalid_json", f"the line is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ApiError(400, "invalid_json", f"the line is {kind(document)}: it takes an object")
    if document.get("delete") is not True:
        return parse_exported(document, space)
    check_members(document, {"id", "delete", "if_version"})
    return parse_delete(document.get("id"), document.get("if_version"))


def _field(error: ApiError) -> dict[str, str]:
    return {} if error.field is None else {"field": error.field}


def _first_line(given: str) -> int:
    if not given.isdigit() or int(given) < 1 or (int(given) - 1) % BLOCK_LINES:
        detail = f"from_line takes durable_line + 1: 1, or 1 more than a multiple of {BLOCK_LINES}"
        raise invalid("from_line", detail)
    return int(given)


def _looked_at(task: asyncio.Task[None]) -> None:
    """asyncio complains of an exception that nobody has looked at; `room` tells of it."""
    if not task.cancelled():
        task.exception()
