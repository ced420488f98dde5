"""One persistent HTTP/1.1 connection, as thin as can be: the load generator must not be what limits."""

import asyncio
from typing import cast

HEADER_END = b"\r\n\r\n"


class BadAnswer(Exception):
    """Anything but 200; the message has the server's words."""


class Connection(asyncio.Protocol):
    """One request at a time. Answers must carry Content-Length."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._length = 0
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def post(self, request: bytes) -> bytes:
        """Body of the answer to `request` (`request_bytes`). Raises BadAnswer, ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the server has closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, reason: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._length:
            self._length = _whole_length(self._received)
        if self._length and len(self._received) >= self._length:
            whole = bytes(self._received[: self._length])
            self._received.clear()
            self._length = 0
            assert self._answer
            if not self._answer.done():
                self._finish(self._answer, whole)

    @staticmethod
    def _finish(answer: "asyncio.Future[bytes]", whole: bytes) -> None:
        head, _, body = whole.partition(HEADER_END)
        if head.split(b" ", 2)[1] == b"200":
            answer.set_result(body)
        else:
            answer.set_exception(BadAnswer(f"{head.splitlines()[0].decode()}: {body[:500].decode(errors='replace')}"))


def _whole_length(received: bytearray) -> int:
    """Bytes of head and body; 0 while the head is not complete. Raises BadAnswer for a body of unknown length."""
    end = received.find(HEADER_END)
    if end < 0:
        return 0
    for line in bytes(received[:end]).lower().splitlines():
        if line.startswith(b"content-length:"):
            return end + len(HEADER_END) + int(line.partition(b":")[2])
    raise BadAnswer("an answer without Content-Length")


def request_bytes(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
