"""`python -m embedding_serving local --model <directory>`: the same roles, API and files as in a cluster, on loopback."""

import asyncio
import contextlib
import hashlib
import logging
import socket
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import ValidationError

from ..contract.model import DirectorySource
from ..contract.reports import READY_PATH, Outcome
from ..contract.route import GenerationRoute
from ..contract.settings import EmbedSettings, GatewaySettings, LocalSettings, PrepareSettings, ShardSettings, env_name
from ..embed.main import serve as serve_embed
from ..failure import StartFailed
from ..gateway.main import serve as serve_gateway
from ..prepare.errors import PrepareError
from ..prepare.pipeline import prepare
from ..prepared import PreparedModel
from ..role import run_role, stop_event
from ..shard.main import serve as serve_shard
from .admission import LOOK_SECONDS, Admin, Commander, write_route
from .arguments import parsed
from .claim import claimed

log = logging.getLogger(__name__)

NAME = "local"
POD = f"{NAME}-0"
LOOPBACK = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    """2 where the options cannot be read."""
    try:
        settings = parsed(arguments)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            _say(f"local: --{name.replace('_', '-')} (or {env_name(name)}): {fault['msg']}")
        return 2
    return run_role(lambda: settings, serve)


async def serve(settings: LocalSettings) -> int:
    """Runs until SIGTERM or SIGINT; answers 1, and says why, where it cannot start."""
    try:
        with claimed(_made(Path(settings.data_dir)), f"http://{settings.host}:{settings.port}"):
            await _run(settings)
    except _Stopped:
        return 0
    except StartFailed as error:
        _say(f"local: {error.message}")
        return 1
    return 0


class _Stopped(Exception):
    """Told to stop before everything was ready."""


async def _run(settings: LocalSettings) -> None:
    model = await asyncio.to_thread(_prepared, settings)
    plan = _Plan(settings, model)
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        roles = [asyncio.create_task(_checked(serve_embed(plan.embed))), asyncio.create_task(_checked(serve_shard(plan.shard)))]
        try:
            admin = Admin(session, f"http://{LOOPBACK}:{plan.shard.admin_port}", plan.commander)
            epoch = await admin.admit(await _unless_ended(admin.ready(), roles))
            write_route(plan.route_dir, NAME, NAME, plan.generation, epoch)
            roles.append(asyncio.create_task(_checked(serve_gateway(plan.gateway))))
            ports = (plan.embed.admin_port, plan.gateway.admin_port)
            await _unless_ended(asyncio.gather(*(_ready(session, port) for port in ports)), roles)
            _say(f"ready: http://{settings.host}:{settings.port}  (try {_hint(settings)}; API at /docs; Ctrl-C ends it)")
            await asyncio.gather(*roles)
        finally:
            stop_event().set()
            await asyncio.gather(*roles, return_exceptions=True)


class _Plan:
    """The settings of each role, as the operator would give them."""

    def __init__(self, settings: LocalSettings, model: PreparedModel) -> None:
        data = Path(settings.data_dir)
        self.commander = Commander(NAME, POD)
        self.route_dir = data / "route"
        quick: dict[str, Any] = {"drain_seconds": 0.0, "shutdown_seconds": 5.0, "log_level": settings.log_level}
        ports = _free_ports(5)
        self.embed = _given(
            EmbedSettings,
            revision=_revision(settings),
            expected_fingerprint=model.fingerprint,
            weights_dir=str(_weights(settings)),
            model_name=Path(settings.model).resolve().name,
            port=ports[0],
            admin_port=ports[1],
            host=LOOPBACK,
            **quick,
        )
        pod: dict[str, Any] = {"pod": POD, "namespace": NAME, "admin_public_keys": (self.commander.public_key,), **quick}
        self.shard = _given(
            ShardSettings,
            index=NAME,
            generation=1,
            shard=0,
            shards=1,
            writer=LOOPBACK,
            fingerprint=model.fingerprint,
            dimensions=model.dimensions,
            index_options=settings.index_options,
            fields=settings.fields,
            data_dir=str(_made(data / "index")),
            admin_port=ports[2],
            frame_port=ports[3],
            host=LOOPBACK,
            **pod,
        )
        self.gateway = _given(
            GatewaySettings,
            service=NAME,
            index=NAME,
            route_dir=str(self.route_dir),
            keys_dir=settings.keys_dir,
            timeout_seconds=10.0,
            port=settings.port,
            admin_port=ports[4],
            host=settings.host,
            **pod,
        )
        self.generation = GenerationRoute(
            generation=1,
            hosts=(f"{LOOPBACK}:{self.shard.frame_port}",),
            fingerprint=model.fingerprint,
            dimensions=model.dimensions,
            model=self.embed.model_name,
            revision=self.embed.revision,
            encoder=f"http://{LOOPBACK}:{self.embed.port}",
        )


def _prepared(settings: LocalSettings) -> PreparedModel:
    """Converts the model once. Raises StartFailed."""
    _say(f"model: {settings.model}")
    wanted = _given(
        PrepareSettings,
        revision=_revision(settings),
        source=DirectorySource(path=str(Path(settings.model).resolve())),
        options=settings.options,
        weights_dir=str(_weights(settings)),
    )
    try:
        return prepare(wanted)
    except PrepareError as error:
        raise StartFailed(error.outcome, error.message) from error


def _given(kind: type[Any], **values: Any) -> Any:
    """Settings of a role from these values alone: the environment is that of `local`."""
    return kind.model_construct(**{name: field.get_default() for name, field in kind.model_fields.items()} | values)


def _revision(settings: LocalSettings) -> str:
    """Another directory or other options are another revision; new files in the same directory need a new data_dir."""
    named = f"{Path(settings.model).resolve()}\0{settings.options.model_dump_json()}"
    return hashlib.sha256(named.encode()).hexdigest()[:8]


def _weights(settings: LocalSettings) -> Path:
    return _made(Path(settings.data_dir) / "weights")


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartFailed(Outcome.UNAVAILABLE, f"data_dir: {directory} cannot be made: {error.strerror}") from error
    return directory


async def _checked(role: Coroutine[Any, Any, int]) -> None:
    """A role that ends takes the others with it."""
    try:
        await role
    finally:
        stop_event().set()


async def _unless_ended(work: Any, roles: list[asyncio.Task[None]]) -> Any:
    """Waits for `work` as long as every role runs. Raises what a role ended with."""
    wanted = asyncio.ensure_future(work)
    await asyncio.wait({wanted, *roles}, return_when=asyncio.FIRST_COMPLETED)
    if wanted.done():
        return wanted.result()
    wanted.cancel()
    await asyncio.gather(wanted, return_exceptions=True)
    await asyncio.gather(*(role for role in roles if role.done()))
    raise _Stopped


async def _ready(session: aiohttp.ClientSession, port: int) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with session.get(f"http://{LOOPBACK}:{port}{READY_PATH}") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(LOOK_SECONDS)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(number)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _hint(settings: LocalSettings) -> str:
    return f'curl -s {settings.host}:{settings.port}/v1/search -d \'{{"query": "…"}}\''


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
