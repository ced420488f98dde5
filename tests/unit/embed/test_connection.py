import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedding_serving.http.server import Connection, Listener


async def answer_ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def listener(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    monkeypatch.setattr(Connection, "header_seconds", 0.2)
    listening = Listener(answer_ok, 0, shutdown_seconds=1)
    listening.start()
    yield listening
    await listening.stop()


async def ask(port: int, sent: bytes) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_headers_that_never_end_close_the_connection(listener: Listener, sent: bytes) -> None:
    assert await ask(listener.port, sent) == b""


async def test_a_connection_is_kept_between_requests(listener: Listener) -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    for _ in range(2):
        writer.write(request)
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.3)
    writer.close()


async def test_too_many_headers_close_the_connection(listener: Listener) -> None:
    assert await ask(listener.port, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000) == b""
