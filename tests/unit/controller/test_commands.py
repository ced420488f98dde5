"""Commands to pods over HTTP: signed for one pod, refused in words, never taken for an answer that is not there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from embedding_operator.admin_key import AdminKey
from embedding_operator.dataplane import HTTPDataPlane, PodError
from embedding_serving.contract.admin import Mode, Unfence, audience
from embedding_serving.http.admin_tokens import TokenCheck, Unauthorized

POD: dict[str, Any] = {
    "metadata": {"name": "docs-g1-s0-0", "namespace": "t", "uid": "u"},
    "status": {"podIP": "127.0.0.1"},
}
MESSAGE = Unfence(epoch=3, history="h1")
ANSWER = {"history": "h1", "epoch": 3, "mode": "Open"}


@asynccontextmanager
async def answering(handler: Any, key: AdminKey | None = None) -> AsyncIterator[HTTPDataPlane]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(application) as server:
        plane = HTTPDataPlane((key or AdminKey(Ed25519PrivateKey.generate())).token, port=server.port or 0)
        try:
            yield plane
        finally:
            await plane.close()


async def test_a_command_is_one_that_the_pod_believes_and_no_other_pod_does() -> None:
    key = AdminKey(Ed25519PrivateKey.generate())
    told: list[tuple[str, Any]] = []

    async def obey(request: web.Request) -> web.Response:
        TokenCheck([key.public], audience("t", "docs-g1-s0-0"))(request.headers["Authorization"])
        with pytest.raises(Unauthorized):
            TokenCheck([key.public], audience("t", "docs-g1-s0-1"))(request.headers["Authorization"])
        told.append((request.path, await request.json()))
        return web.json_response(ANSWER)

    async with answering(obey, key) as plane:
        answer = await plane.command(POD, MESSAGE)
    assert answer.mode is Mode.OPEN
    assert told == [("/v1/admin/unfence", {"epoch": 3, "history": "h1", "rebuild_id": ""})]


async def test_a_refusal_carries_its_code_and_detail() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"code": "stale", "detail": "this shard is at epoch 7"}, status=409)

    async with answering(refuse) as plane:
        with pytest.raises(PodError, match="stale: this shard is at epoch 7") as refused:
            await plane.command(POD, MESSAGE)
    assert refused.value.code == "stale"


@pytest.mark.parametrize(
    "answer",
    [web.Response(status=502, text="<html>"), web.Response(text="no JSON"), web.Response(text="{}"), web.Response(status=401)],
    ids=["a proxy's page", "no JSON", "no answer to this", "unauthorized"],
)
async def test_what_is_no_answer_is_an_error(answer: web.Response) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(status=answer.status, text=answer.text or "")

    async with answering(say) as plane:
        with pytest.raises(PodError):
            await plane.command(POD, MESSAGE)
        assert await plane.shard_info(POD) is None
        assert await plane.gateway_info(POD) is None


async def test_an_answer_without_end_is_given_up() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(40):
            await response.write(b" " * 65_536)
        return response

    async with answering(endless) as plane:
        assert await plane.shard_info(POD) is None


async def test_a_pod_without_an_address_is_not_called() -> None:
    plane = HTTPDataPlane(str)
    assert await plane.shard_info({"metadata": POD["metadata"], "status": {}}) is None
    await plane.close()


async def test_an_answer_in_pieces_is_read_to_its_end() -> None:
    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in b'{"service": "docs", "index": "docs", "seq": 4}':
            await response.write(bytes([byte]))
        return response

    async with answering(slowly) as plane:
        info = await plane.gateway_info(POD)
    assert info is not None
    assert info.seq == 4
