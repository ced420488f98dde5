"""Calls to the pods: what they are, and what to do. Every call has a deadline and can be repeated."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError

from embedding_serving.contract.admin import (
    ADMIN_PATH,
    GATEWAY_INFO_PATH,
    SHARD_INFO_PATH,
    Answer,
    GatewayInfo,
    Message,
    PushRoute,
    ShardInfo,
    audience,
)
from embedding_serving.contract.reports import INFO_PATH, ModelInfo
from embedding_serving.contract.route import Route
from embedding_serving.contract.settings import ADMIN_PORT

from .resources import Manifest

logger = logging.getLogger(__name__)
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

REMEMBERED_PODS = 10_000
FIRST_PATIENCE_SECONDS = 5.0
LAST_PATIENCE_SECONDS = 300.0
MOST_CALLS = 64
MOST_ANSWER_BYTES = 1 << 20
Incarnation = tuple[str, int]
"""A pod's UID and how often its containers restarted."""


class PodError(Exception):
    """A pod did not do as told. `code` is what it said why; empty where it did not answer."""

    def __init__(self, pod: str, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if code else detail)
        self.pod = pod
        self.code = code


@dataclass(frozen=True)
class Silence:
    seconds: float
    until: float


class DataPlane(Protocol):
    async def info(self, pod: Manifest) -> ModelInfo | None:
        """What a ready pod of a model says it serves; None where it does not answer."""

    def patience(self, pod: Manifest) -> float:
        """Seconds until a pod that did not answer will be asked again."""

    async def shard_info(self, pod: Manifest) -> ShardInfo | None:
        """What a shard's pod says of itself now; None where it does not answer."""

    async def gateway_info(self, pod: Manifest) -> GatewayInfo | None:
        """What a gateway's pod says of itself now; None where it does not answer."""

    async def command(self, pod: Manifest, message: Message) -> Answer:
        """Tells a shard. Raises PodError."""

    async def push_route(self, pod: Manifest, route: Route) -> GatewayInfo:
        """Gives a gateway a route, which it takes if it is newer. Raises PodError."""


class HTTPDataPlane:
    """Asks each incarnation of a model's pod once: what it serves cannot change while it runs.

    One that does not answer is asked less and less often: a network policy may stand between for good, and the time spent
    on it is another object's. Shards and gateways are asked at every look, for what they say changes.
    """

    def __init__(
        self,
        token: Callable[[str], str],
        timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        port: int = ADMIN_PORT,
    ) -> None:
        """`token` signs a command for an audience."""
        self._token = token
        self._port = port
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._known: OrderedDict[Incarnation, ModelInfo] = OrderedDict()
        self._silent: OrderedDict[Incarnation, Silence] = OrderedDict()

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def info(self, pod: Manifest) -> ModelInfo | None:
        incarnation = _incarnation(pod)
        if incarnation in self._known:
            self._known.move_to_end(incarnation)
            return self._known[incarnation]
        silence = self._silent.get(incarnation)
        if silence and self._clock() < silence.until:
            return None
        answer = await self._asked(pod, INFO_PATH, ModelInfo)
        if answer is None:
            wait = min(LAST_PATIENCE_SECONDS, silence.seconds * 2) if silence else FIRST_PATIENCE_SECONDS
            logger.info("pod %s does not say what it serves: asked again in %.0f s", pod["metadata"]["name"], wait)
            _keep(self._silent, incarnation, Silence(wait, self._clock() + wait))
            return None
        self._silent.pop(incarnation, None)
        _keep(self._known, incarnation, answer)
        return answer

    def patience(self, pod: Manifest) -> float:
        silence = self._silent.get(_incarnation(pod))
        return max(FIRST_PATIENCE_SECONDS, silence.until - self._clock()) if silence else FIRST_PATIENCE_SECONDS

    async def shard_info(self, pod: Manifest) -> ShardInfo | None:
        return await self._asked(pod, SHARD_INFO_PATH, ShardInfo)

    async def gateway_info(self, pod: Manifest) -> GatewayInfo | None:
        return await self._asked(pod, GATEWAY_INFO_PATH, GatewayInfo)

    async def command(self, pod: Manifest, message: Message) -> Answer:
        path = f"{ADMIN_PATH}/{type(message).__name__.lower()}"
        return await self._call("POST", pod, path, Answer, message)

    async def push_route(self, pod: Manifest, route: Route) -> GatewayInfo:
        return await self._call("POST", pod, f"{ADMIN_PATH}/route", GatewayInfo, PushRoute(route=route))

    async def _asked(self, pod: Manifest, path: str, answer: type[M]) -> M | None:
        try:
            return await self._call("GET", pod, path, answer)
        except PodError as error:
            logger.debug("pod %s does not say what it is: %s", pod["metadata"]["name"], error)
            return None

    async def _call(self, method: str, pod: Manifest, path: str, answer: type[M], body: BaseModel | None = None) -> M:
        meta = pod["metadata"]
        address = pod.get("status", {}).get("podIP")
        if not address:
            raise PodError(meta["name"], "", "it has no address yet")
        url = f"http://{f'[{address}]' if ':' in address else address}:{self._port}{path}"
        headers = {"Content-Type": "application/json"}
        if body is not None:
            headers["Authorization"] = f"Bearer {self._token(audience(meta['namespace'], meta['name']))}"
        self._session = self._session or aiohttp.ClientSession(timeout=self._timeout)
        data = body.model_dump_json().encode() if body is not None else None
        try:
            async with self._calls, self._session.request(method, url, data=data, headers=headers) as response:
                payload = await _body(response)
                if response.status >= 300:
                    raise _refused(meta["name"], response.status, payload)
                return answer.model_validate_json(payload)
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            raise PodError(meta["name"], "", str(error) or type(error).__name__) from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Raises ClientError where there is no end to it."""
    payload = bytearray()
    async for chunk in response.content.iter_any():
        payload += chunk
        if len(payload) > MOST_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of more than {MOST_ANSWER_BYTES} bytes")
    return bytes(payload)


def _refused(pod: str, status: int, payload: bytes) -> PodError:
    """A problem document as an exception."""
    try:
        said = orjson.loads(payload)
        return PodError(pod, str(said.get("code", status)), str(said.get("detail") or said.get("title") or ""))
    except (orjson.JSONDecodeError, AttributeError):
        return PodError(pod, str(status), payload[:200].decode(errors="replace"))


def _incarnation(pod: Manifest) -> Incarnation:
    return pod["metadata"]["uid"], _restarts(pod)


def _keep(memory: OrderedDict[Incarnation, T], incarnation: Incarnation, value: T) -> None:
    memory[incarnation] = value
    while len(memory) > REMEMBERED_PODS:
        memory.popitem(last=False)


def _restarts(pod: Manifest) -> int:
    return sum(int(container.get("restartCount", 0)) for container in pod.get("status", {}).get("containerStatuses", []))
