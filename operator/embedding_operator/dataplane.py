"""Calls to the pods: what they are. Every call has a deadline; a pod that does not answer is asked again later."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import aiohttp
from pydantic import ValidationError

from embedding_serving.contract.reports import INFO_PATH, ModelInfo
from embedding_serving.contract.settings import ADMIN_PORT

from .resources import Manifest

logger = logging.getLogger(__name__)
T = TypeVar("T")

REMEMBERED_PODS = 10_000
FIRST_PATIENCE_SECONDS = 5.0
LAST_PATIENCE_SECONDS = 300.0
Incarnation = tuple[str, int]
"""A pod's UID and how often its containers restarted."""


@dataclass(frozen=True)
class Silence:
    seconds: float
    until: float


class DataPlane(Protocol):
    async def info(self, pod: Manifest) -> ModelInfo | None:
        """What a ready pod says it serves; None where it does not answer."""

    def patience(self, pod: Manifest) -> float:
        """Seconds until a pod that did not answer will be asked again."""


class HTTPDataPlane:
    """Asks each incarnation of a pod once: what it serves cannot change while it runs.

    One that does not answer is asked less and less often: a network policy may stand between for good, and the time spent
    on it is another model's.
    """

    def __init__(
        self, timeout_seconds: float = 2.0, clock: Callable[[], float] = time.monotonic, port: int = ADMIN_PORT
    ) -> None:
        self._port = port
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
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
        answer = await self._ask(pod)
        if answer is None:
            wait = min(LAST_PATIENCE_SECONDS, silence.seconds * 2) if silence else FIRST_PATIENCE_SECONDS
            _keep(self._silent, incarnation, Silence(wait, self._clock() + wait))
            return None
        self._silent.pop(incarnation, None)
        _keep(self._known, incarnation, answer)
        return answer

    def patience(self, pod: Manifest) -> float:
        silence = self._silent.get(_incarnation(pod))
        return max(FIRST_PATIENCE_SECONDS, silence.until - self._clock()) if silence else FIRST_PATIENCE_SECONDS

    async def _ask(self, pod: Manifest) -> ModelInfo | None:
        address = pod.get("status", {}).get("podIP", "")
        host = f"[{address}]" if ":" in address else address
        self._session = self._session or aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(f"http://{host}:{self._port}{INFO_PATH}") as answer:
                answer.raise_for_status()
                return ModelInfo.model_validate_json(await answer.content.read(65_536))
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            logger.info("pod %s does not say what it serves: %s", pod["metadata"]["name"], error or type(error).__name__)
            return None


def _incarnation(pod: Manifest) -> Incarnation:
    return pod["metadata"]["uid"], _restarts(pod)


def _keep(memory: OrderedDict[Incarnation, T], incarnation: Incarnation, value: T) -> None:
    memory[incarnation] = value
    while len(memory) > REMEMBERED_PODS:
        memory.popitem(last=False)


def _restarts(pod: Manifest) -> int:
    return sum(int(container.get("restartCount", 0)) for container in pod.get("status", {}).get("containerStatuses", []))
