"""Calls to the pods: what they are. Every call has a deadline; a pod that does not answer is asked again later."""

import logging
from collections import OrderedDict
from typing import Protocol

import aiohttp
from pydantic import ValidationError

from embedding_serving.contract.reports import INFO_PATH, ModelInfo
from embedding_serving.contract.settings import ADMIN_PORT

from .resources import Manifest

logger = logging.getLogger(__name__)

REMEMBERED_PODS = 10_000


class DataPlane(Protocol):
    async def info(self, pod: Manifest) -> ModelInfo | None:
        """What a ready pod says it serves; None where it does not answer."""


class HTTPDataPlane:
    """Asks each incarnation of a pod once: what it serves cannot change while it runs."""

    def __init__(self, timeout_seconds: float = 2.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._known: OrderedDict[tuple[str, int], ModelInfo] = OrderedDict()

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def info(self, pod: Manifest) -> ModelInfo | None:
        incarnation = (pod["metadata"]["uid"], _restarts(pod))
        if incarnation not in self._known:
            answer = await self._ask(pod)
            if answer is None:
                return None
            self._known[incarnation] = answer
        self._known.move_to_end(incarnation)
        while len(self._known) > REMEMBERED_PODS:
            self._known.popitem(last=False)
        return self._known[incarnation]

    async def _ask(self, pod: Manifest) -> ModelInfo | None:
        address = pod.get("status", {}).get("podIP", "")
        host = f"[{address}]" if ":" in address else address
        self._session = self._session or aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(f"http://{host}:{ADMIN_PORT}{INFO_PATH}") as answer:
                answer.raise_for_status()
                return ModelInfo.model_validate_json(await answer.content.read(65_536))
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            logger.info("pod %s does not say what it serves: %s", pod["metadata"]["name"], error or type(error).__name__)
            return None


def _restarts(pod: Manifest) -> int:
    return sum(int(container.get("restartCount", 0)) for container in pod.get("status", {}).get("containerStatuses", []))
