import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedding_serving.http.exchange import Exchange, HungUp
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


@pytest.mark.parametrize("size", [3, 300_000])
async def test_a_client_that_leaves_takes_its_request_along(size: int) -> None:
    """Also where the connection had paused, because the body was large."""
    works, left = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        works.set()
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send, closing=False)
        assert len(await exchange.body(1 << 20)) == size
        with contextlib.suppress(HungUp):
            await exchange.unless_hung_up(work())
        left.set()

    listening = Listener(app, 0, shutdown_seconds=1)
    listening.start()
    _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    async with asyncio.timeout(20):
        await works.wait()
        assert not left.is_set()
        writer.close()
        await left.wait()
    await listening.stop()


async def test_the_work_of_a_client_that_left_before_it_is_not_begun() -> None:
    read, gone, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send, closing=False)
        await exchange.body(1 << 20)
        read.set()
        await gone.wait()
        with pytest.raises(HungUp):
            await exchange.unless_hung_up(work())
        answered.set()

    listening = Listener(app, 0, shutdown_seconds=1)
    listening.start()
    _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
    async with asyncio.timeout(20):
        await read.wait()
        writer.close()
        while listening.server_state.connections:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        gone.set()
        await answered.wait()
    assert not begun
    await listening.stop()


async def test_an_answer_before_the_end_of_the_body_leaves_the_connection_in_order(listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    async with asyncio.timeout(20):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab")
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
            writer.write(b"cde")
    writer.close()
