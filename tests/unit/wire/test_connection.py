import asyncio
import contextlib
from typing import Any

import pytest

from embedding_serving.wire.client import Connection
from embedding_serving.wire.codec import Limits
from embedding_serving.wire.errors import ConnectionLost, DeadlineExceeded, WireError

from .frame_world import DEADLINE_SECONDS, World, raw_answers, raw_frame, serving, until

HELLO = {"op": "hello", "version": 1, "peer": "raw"}


async def test_a_connection_begins_with_hello_and_many_calls_share_it() -> None:
    async with serving() as world:
        connection = await world.connect()
        assert connection.hello == {"pod": "p", "peer": "test"}
        answers = [connection.send({"op": "echo", "say": n}, b"%d" % n, timeout=5) for n in range(200)]
        assert connection.outstanding == 200
        for n, answer in enumerate(answers):
            assert (await answer).head == {"said": n}
            assert bytes((await answer).tail) == b"%d" % n
        assert connection.outstanding == 0


async def test_answers_come_as_they_are_ready() -> None:
    async with serving() as world:
        connection = await world.connect()
        slow = connection.send({"op": "hold"}, timeout=20)
        assert (await connection.call({"op": "echo", "say": 1}, timeout=5)).head["said"] == 1
        assert not slow.done()
        world.gate.set()
        await slow


async def test_a_large_tail_arrives_whole() -> None:
    async with serving() as world:
        connection = await world.connect()
        tail = bytes(range(256)) * 40_000
        assert bytes((await connection.call({"op": "echo"}, tail, timeout=20)).tail) == tail


async def test_a_refusal_carries_all_that_it_says() -> None:
    async with serving() as world:
        connection = await world.connect()
        with pytest.raises(WireError) as refused:
            await connection.call({"op": "refuse"}, timeout=5)
        error = refused.value
        assert (error.code, error.detail, error.field, error.route, error.retry_after) == (
            "moved",
            "go on",
            "x",
            {"seq": 2},
            0.25,
        )


async def test_a_bug_is_told_without_its_secrets() -> None:
    async with serving() as world:
        connection = await world.connect()
        with pytest.raises(WireError, match="internal: unexpected RuntimeError") as refused:
            await connection.call({"op": "fail"}, timeout=5)
        assert "secret" not in refused.value.detail
        assert (await connection.call({"op": "echo", "say": 1}, timeout=5)).head["said"] == 1


async def test_calls_are_observed_by_op_and_code_and_no_stranger_makes_up_ops() -> None:
    async with serving() as world:
        connection = await world.connect()
        for op in ("echo", "refuse", "made-up"):
            with contextlib.suppress(WireError):
                await connection.call({"op": op}, timeout=5)
        assert world.observed == [("hello", "ok"), ("echo", "ok"), ("refuse", "moved"), ("other", "unknown_op")]


async def test_an_answer_that_is_too_large_is_an_error_of_its_call_alone() -> None:
    async with serving(Limits(max_frame_bytes=100_000)) as world:
        connection = await world.connect()
        with pytest.raises(WireError, match="too_large"):
            await connection.call({"op": "large", "size": 200_000}, timeout=5)
        assert len((await connection.call({"op": "large", "size": 50_000}, timeout=5)).tail) == 50_000


async def test_a_request_that_is_too_large_is_not_sent() -> None:
    async with serving() as world:
        connection = await world.connect(max_frame_bytes=10_000)
        with pytest.raises(WireError, match="too_large"):
            await connection.call({"op": "echo"}, bytes(20_000), timeout=5)
        assert connection.outstanding == 0


async def test_the_deadline_ends_the_wait_and_the_work() -> None:
    async with serving() as world:
        connection = await world.connect()
        with pytest.raises(DeadlineExceeded):
            await connection.call({"op": "hold"}, timeout=0.05)
        await until(lambda: world.cancelled == 1)
        assert connection.outstanding == 0
        with pytest.raises(WireError, match="deadline"):
            await connection.call({"op": "hold", "deadline_ms": 50}, timeout=20)
        assert world.cancelled == 2


async def test_a_shorter_deadline_that_comes_later_is_kept_too() -> None:
    async with serving() as world:
        connection = await world.connect()
        long = connection.send({"op": "hold"}, timeout=30)
        shorter = connection.send({"op": "hold"}, timeout=0.05)
        await asyncio.wait([shorter], timeout=DEADLINE_SECONDS / 2)
        assert isinstance(shorter.exception(), DeadlineExceeded)
        assert not long.done()
        long.cancel()


async def test_a_cancelled_wait_cancels_the_work() -> None:
    async with serving() as world:
        connection = await world.connect()
        task = asyncio.create_task(connection.call({"op": "hold"}, timeout=20))
        await until(lambda: world.held == 1)
        task.cancel()
        await until(lambda: world.cancelled == 1)
        assert connection.outstanding == 0
        at_once = connection.send({"op": "hold"}, timeout=20)
        at_once.cancel()
        assert (await connection.call({"op": "echo", "say": 1}, timeout=5)).head["said"] == 1
        assert world.held == 0


async def test_the_end_of_a_connection_ends_its_calls() -> None:
    async with serving() as world:
        connection = await world.connect()
        waiting = connection.send({"op": "hold"}, timeout=20)
        await until(lambda: world.held == 1)
        connection.close()
        with pytest.raises(ConnectionLost):
            await waiting
        await until(lambda: world.cancelled == 1)
        with pytest.raises(ConnectionLost):
            await connection.call({"op": "echo"}, timeout=5)
        await until(lambda: world.server.connections == 0)


async def test_a_connection_runs_a_bounded_number_of_calls_and_loses_none() -> None:
    async with serving(Limits(max_calls=4)) as world:
        connection = await world.connect()
        calls = [connection.send({"op": "hold", "say": n}, timeout=20) for n in range(50)]
        await until(lambda: world.held == 4)
        calls[40].cancel()
        world.gate.set()
        for n, call in enumerate(calls):
            if n != 40:
                assert (await call).head["said"] == n
        assert world.most_held == 4


async def test_a_connection_holds_a_bounded_number_of_bytes() -> None:
    async with serving(Limits(max_buffered_bytes=300_000)) as world:
        connection = await world.connect()
        calls = [connection.send({"op": "hold", "say": n}, bytes(200_000), timeout=20) for n in range(5)]
        await until(lambda: world.held == 2)
        world.gate.set()
        await asyncio.gather(*calls)
        assert world.most_held == 2


async def test_a_full_client_waits_for_room_or_is_told() -> None:
    async with serving() as world:
        connection = await world.connect(max_calls=2)
        held = [connection.send({"op": "hold"}, timeout=20) for _ in range(2)]
        with pytest.raises(WireError, match="overloaded"):
            await connection.send({"op": "echo"}, timeout=5)
        with pytest.raises(DeadlineExceeded):
            await connection.call({"op": "echo"}, timeout=0.05)
        waiting = asyncio.create_task(connection.call({"op": "echo", "say": 3}, timeout=20))
        await asyncio.sleep(0)
        world.gate.set()
        assert (await waiting).head["said"] == 3
        await asyncio.gather(*held)


async def test_a_reader_that_does_not_read_holds_up_itself_alone() -> None:
    async with serving(Limits(max_calls=8)) as world:
        reader, writer = await _raw(world)
        writer.write(raw_frame(1, HELLO))
        for call in range(2, 300):
            writer.write(raw_frame(call, {"op": "large", "size": 1 << 20}))
        await until(lambda: ("large", "ok") in world.observed)
        connection = await world.connect()
        for n in range(20):
            assert (await connection.call({"op": "echo", "say": n}, timeout=5)).head["said"] == n
        assert world.observed.count(("large", "ok")) < 100, "answers pile up that nobody reads"
        received = 0
        async with asyncio.timeout(DEADLINE_SECONDS):
            while received < 298 << 20:
                received += len(await reader.read(1 << 20))
        writer.close()


@pytest.mark.parametrize(
    ("sent", "code", "detail"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad_request", "a frame of"),
        (raw_frame(1, {"op": "echo"}), "bad_request", "begins with hello"),
        (raw_frame(1, {"op": "hello", "version": 2}), "bad_request", "version 2"),
        (raw_frame(0, HELLO), "bad_request", "call 0"),
        (raw_frame(1, HELLO) + raw_frame(2, {"op": "hold"}) + raw_frame(2, {"op": "hold"}), "bad_request", "call 2"),
        (raw_frame(1, {**HELLO, "peer": "x" * 70_000}), "bad_request", "a frame of"),
        (raw_frame(1, HELLO)[:-1] + b"\x01\xff\xff\xff\xff" * 10, "bad_request", ""),
    ],
)
async def test_what_is_no_protocol_is_told_so_and_closed(sent: bytes, code: str, detail: str) -> None:
    async with serving() as world:
        reader, writer = await _raw(world)
        writer.write(sent)
        call, kind, head = (await raw_answers(reader))[-1]
        assert (call, kind, head["code"]) == (0, 2, code)
        assert detail in head["detail"]
        writer.close()
        await until(lambda: world.server.connections == 0)


async def test_a_head_that_is_no_json_fails_its_call_alone() -> None:
    async with serving() as world:
        reader, writer = await _raw(world)
        writer.write(raw_frame(1, HELLO) + raw_frame(2, b"nope") + raw_frame(3, {"say": 1}) + raw_frame(4, {"op": "echo"}))
        await until(lambda: ("echo", "ok") in world.observed)
        writer.write_eof()
        answers = await raw_answers(reader)
        assert [(call, kind) for call, kind, _ in answers] == [(1, 1), (2, 2), (3, 2), (4, 1)]
        writer.close()


async def test_a_connection_that_hangs_is_closed_and_a_quiet_one_is_not() -> None:
    async with serving(Limits(idle_seconds=0.4)) as world:
        quiet = await world.connect(idle_seconds=0.4)
        reader, writer = await _raw(world)
        writer.write(raw_frame(1, HELLO)[:10])
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert await reader.read(-1) == b""
        assert (await quiet.call({"op": "echo", "say": 1}, timeout=5)).head["said"] == 1
        writer.close()


async def test_a_server_that_is_silent_is_given_up() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        body = b'{"pod":"deaf"}'
        writer.write((8 + len(body)).to_bytes(4, "little") + b"\1\0\0\0" + (1 | len(body) << 8).to_bytes(4, "little") + body)
        await reader.read(-1)
        writer.close()

    deaf = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = deaf.sockets[0].getsockname()[1]
    connection = await Connection.connect("127.0.0.1", port, peer="t", timeout=5, limits=Limits(idle_seconds=0.2))
    waiting = connection.send({"op": "echo"}, timeout=60)
    with pytest.raises(ConnectionLost, match="silent"):
        await waiting
    deaf.close()


async def test_a_crowd_is_refused_with_the_reason() -> None:
    async with serving(max_connections=1) as world:
        first = await world.connect()
        with pytest.raises(ConnectionLost, match="too many connections"):
            await world.connect()
        first.close()
        await until(lambda: world.server.connections == 0)
        (await world.connect()).close()


async def test_nobody_there_is_a_lost_connection() -> None:
    async with serving() as world:
        port = world.server.port
    with pytest.raises(ConnectionLost):
        await Connection.connect("127.0.0.1", port, peer="t", timeout=5)


async def test_a_stopping_server_answers_what_runs_and_refuses_the_rest() -> None:
    async with serving() as world:
        connection = await world.connect()
        running = connection.send({"op": "hold", "say": 1}, timeout=20)
        await until(lambda: world.held == 1)
        stopping = asyncio.create_task(world.server.stop(DEADLINE_SECONDS))
        await asyncio.sleep(0)
        with pytest.raises(WireError, match="overloaded: this pod is stopping"):
            await connection.call({"op": "echo"}, timeout=5)
        world.gate.set()
        assert (await running).head["said"] == 1
        await stopping
        assert connection.is_lost


async def _raw(world: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    opened: tuple[Any, Any] = await asyncio.open_connection("127.0.0.1", world.server.port)
    return opened
