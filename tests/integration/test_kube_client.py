"""The client of the API server against a server on loopback that notes what it is told."""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from embedding_operator.apiserver import ApiServer
from embedding_operator.resources import EMBEDDING_MODEL

LIST = """
import asyncio
from embedding_operator.apiserver import connect
from embedding_operator.resources import EMBEDDING_MODEL

async def main():
    kube = await connect(request_seconds=5)
    assert await kube.list(EMBEDDING_MODEL, "default") == []
    await kube.close()

asyncio.run(main())
"""


async def test_a_netrc_of_the_person_does_not_meet_the_token(tmp_path: Path) -> None:
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(request.headers["Authorization"])
        return web.json_response({"items": []})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    (tmp_path / ".netrc").write_text("default login somebody password else\n")
    async with TestServer(application) as server:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        environment = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")}
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", LIST, env=environment)
        assert await asyncio.wait_for(child.wait(), 60) == 0
    assert told == ["Bearer secret"]


async def test_without_any_configuration_it_says_what_is_missing(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-m", "embedding_operator", "run"]
    child = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 1
    assert b"kubeconfig" in said
    assert b"Traceback" not in said


async def test_lists_come_in_pages_unless_labels_select_a_few() -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        more = {"continue": "next"} if "limit" in request.query and "continue" not in request.query else {}
        return web.json_response({"metadata": more, "items": [{"metadata": {"name": f"m{len(asked)}"}}]})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:
        kube = ApiServer(ApiClient(Configuration(host=f"http://127.0.0.1:{server.port}")), request_seconds=5)
        try:
            pages = await kube.list(EMBEDDING_MODEL, None)
            selected = await kube.list(EMBEDDING_MODEL, "t", "owner=m")
        finally:
            await kube.close()
    assert [item["metadata"]["name"] for item in (*pages, *selected)] == ["m1", "m2", "m3"]
    assert asked == [{"limit": "500"}, {"limit": "500", "continue": "next"}, {"labelSelector": "owner=m"}]
