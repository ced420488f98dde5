"""The shipped calls to pods, with hosts as loopback has them, and a note of how long each took."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from embedding_operator.dataplane import HTTPDataPlane
from embedding_operator.resources import Manifest
from embedding_serving.contract.admin import Answer, Follow, Message, ShardInfo


@dataclass(frozen=True)
class CallTaken:
    """ended: on the monotonic clock, which all processes of the machine share."""

    what: str
    ended: float
    seconds: float


class LoopbackDataPlane(HTTPDataPlane):
    def __init__(self, token: Callable[[str], str]) -> None:
        super().__init__(token)
        self.calls: list[CallTaken] = []

    async def shard_info(self, pod: Manifest) -> ShardInfo | None:
        begun = time.monotonic()
        info = await super().shard_info(pod)
        self._note("info", begun)
        if info is None:
            return None
        sources = tuple(one.model_copy(update={"host": _named(one.host)}) for one in info.sources)
        return info.model_copy(update={"sources": sources})

    async def command(self, pod: Manifest, message: Message) -> Answer:
        begun = time.monotonic()
        if isinstance(message, Follow):
            sources = tuple(one.model_copy(update={"host": _reached(one.host)}) for one in message.sources)
            message = message.model_copy(update={"sources": sources})
        answer = await super().command(pod, message)
        self._note(type(message).__name__.lower(), begun)
        return answer

    def _note(self, what: str, begun: float) -> None:
        ended = time.monotonic()
        self.calls.append(CallTaken(what, ended, ended - begun))


def _named(host: str) -> str:
    """127.1.2.3:8082 → 127-0.127.1.2.3:8082, as the table names a writer."""
    return f"{host.partition('.')[0]}-0.{host}"


def _reached(host: str) -> str:
    return host.partition(".")[2]
