"""One HTTP request and its answer, on bare ASGI."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

from .problems import CONTENT_TYPE as PROBLEM
from .problems import ApiError, error_headers, render

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
T = TypeVar("T")

BODY_SECONDS = 30.0
DISCARD_SECONDS = 2.0
JSON = b"application/json"
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class HungUp(Exception):
    """The client closed the connection before it had its answer."""


INCOMING = "incoming"
"""Where a scope has its request's `Incoming`."""


class Incoming:
    """What a connection knows of a request, beside what ASGI tells.

    whole: all of its body is here. lost: the client is gone.
    """

    __slots__ = ("lost", "on_lost", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.lost = False
        self.on_lost: Callable[[], None] | None = None


class Exchange:
    def __init__(self, scope: Message, receive: Receive, send: Send, *, closing: bool) -> None:
        """closing: tell the client to use another connection for its next request."""
        self._receive = receive
        self._send = send
        self._closing = closing
        self._incoming: Incoming = scope.get(INCOMING) or Incoming()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.address: str = (scope.get("client") or ("unknown", 0))[0]
        self.request_id = request_id_of(self.headers)
        self.status: int | None = None

    def wants(self, content_type: bytes) -> bool:
        return content_type in self.headers.get(b"accept", b"")

    async def body(self, max_bytes: int, deadline_seconds: float = BODY_SECONDS) -> bytes:
        """The whole body. Raises ApiError where it is too large or too slow, HungUp where the client is gone."""
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > max_bytes:
            await self._discard()
            raise _too_large(max_bytes)
        if self._incoming.whole:
            return await self._read(max_bytes)
        try:
            async with asyncio.timeout(deadline_seconds):
                return await self._read(max_bytes)
        except TimeoutError:
            self._closing = True
            raise ApiError(408, "body_timeout", f"the body did not arrive within {deadline_seconds:.0f} s") from None

    async def parts(self, idle_seconds: float) -> AsyncIterator[bytes]:
        """The body as it comes, for one that is never held as a whole. Raises ApiError where nothing comes, HungUp."""
        while True:
            try:
                async with asyncio.timeout(idle_seconds):
                    message = await self._receive()
            except TimeoutError:
                self._closing = True
                raise ApiError(408, "body_timeout", f"nothing of the body came for {idle_seconds:.0f} s") from None
            if message["type"] != "http.request":
                raise HungUp
            if message["body"]:
                yield message["body"]
            if not message.get("more_body"):
                return

    async def unless_hung_up(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work`; a client that leaves takes it along. Raises HungUp then. Only after the body was read."""
        if self._incoming.lost:
            work.close()
            raise HungUp
        handler = asyncio.current_task()
        hung_up = False

        def leave() -> None:
            nonlocal hung_up
            hung_up = True
            if handler is not None:
                handler.cancel()

        self._incoming.on_lost = leave
        try:
            return await work
        except asyncio.CancelledError:
            if hung_up and handler is not None and handler.uncancel() == 0:
                raise HungUp from None
            raise
        finally:
            self._incoming.on_lost = None

    async def answer(self, status: int, content_type: bytes, body: bytes, extra: Sequence[Header] = ()) -> None:
        self.status = status
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
            *extra,
        ]
        if self._closing:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, content_type: bytes, extra: Sequence[Header] = ()) -> None:
        """Starts an answer of unknown length; `send_part` and `end` follow."""
        self.status = 200
        headers = [(b"content-type", content_type), (b"x-request-id", self.request_id.encode()), *extra]
        if self._closing:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_part(self, part: bytes, timeout_seconds: float) -> None:
        """Returns when there is room for more. Raises HungUp where the client reads nothing for so long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            raise HungUp from None

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def refuse(self, error: ApiError, problem: bytes | None = None) -> None:
        """problem: the body, where it is another than the plain problem document."""
        body = render(error, self.request_id) if problem is None else problem
        await self.answer(error.status, PROBLEM, body, error_headers(error))

    async def _read(self, max_bytes: int) -> bytes:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body") and len(message["body"]) <= max_bytes:
            return bytes(message["body"])
        parts: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            parts.append(message["body"])
            size += len(message["body"])
            if size > max_bytes:
                await self._discard()
                raise _too_large(max_bytes)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()
        raise HungUp

    async def _discard(self) -> None:
        """Reads on for a moment: a client that is still sending would lose the answer to a reset connection."""
        self._closing = True
        if self.headers.get(b"expect", b"").lower() == b"100-continue":
            return
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while (message := await self._receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        except TimeoutError:
            pass


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's own X-Request-Id, or a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body is larger than {max_bytes} bytes: send less in a request")
