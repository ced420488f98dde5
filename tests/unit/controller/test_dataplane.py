"""Asking pods what they serve: once each, and ever less often those that do not answer."""

import asyncio
from typing import Any

from embedding_operator import dataplane
from embedding_operator.dataplane import HTTPDataPlane


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pod(address: str = "127.0.0.1", restarts: int = 0) -> dict[str, Any]:
    status = {"podIP": address, "containerStatuses": [{"restartCount": restarts}]}
    return {"metadata": {"uid": "u", "name": "p"}, "status": status}


async def test_a_silent_pod_is_asked_less_and_less_often(unused_tcp_port: int) -> None:
    asked = 0

    async def answer_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    clock = Clock()
    server = await asyncio.start_server(answer_nothing, "127.0.0.1", unused_tcp_port)
    plane = HTTPDataPlane(str, clock=clock, port=unused_tcp_port)
    waits = []
    for _ in range(4):
        assert await plane.info(pod()) is None
        assert await plane.info(pod()) is None, "not asked again at once"
        waits.append(plane.patience(pod()))
        clock.now += waits[-1]
    assert waits == [5, 10, 20, 40]
    attempts = asked
    assert await plane.info(pod(restarts=1)) is None
    assert asked > attempts, "a restarted pod is another one"
    await plane.close()
    server.close()
    await server.wait_closed()
    assert dataplane.LAST_PATIENCE_SECONDS == 300
