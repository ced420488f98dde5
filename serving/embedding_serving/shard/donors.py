"""Vectors of a generation that was given up: a rebuild that was begun anew takes them, where the text is still the same.

A help and nothing more: whatever a donor does not tell in time is embedded as ever.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..contract.index import IndexName, shard_of
from .feed import text_digest
from .reading import Hello, Unreachable
from .store.records import Identity, Refused

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""For a page of vectors, the connection included."""
LEFT_ALONE_SECONDS = 30.0
"""So long a donor that failed is not asked again: the encoder is not to wait for it."""


class Giver(Protocol):
    """A connection to a shard of a donor. Raises Refused or Unreachable."""

    hello: Hello

    async def embedded(self, fingerprint: str, ids: Sequence[str], timeout: float) -> Mapping[str, tuple[str, bytes]]: ...


class Donors:
    """Belongs to the event loop. index: whose vectors these are to be."""

    def __init__(
        self,
        identity: Identity,
        index: IndexName,
        connect: Callable[[str], AbstractAsyncContextManager[Giver]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._index = index
        self._connect = connect
        self._clock = clock
        self._alone_until: dict[str, float] = {}

    async def __call__(self, hosts: Sequence[str], texts: Mapping[str, str]) -> dict[str, bytes]:
        """hosts: of the donor's shards, in order. Vectors by id of those of the texts that are the same there."""
        parts: list[list[str]] = [[] for _ in hosts]
        for id_ in texts:
            parts[shard_of(id_, len(hosts))].append(id_)
        answers = await asyncio.gather(*(self._asked(hosts, number, ids) for number, ids in enumerate(parts) if ids))
        told = {id_: one for answer in answers for id_, one in answer.items() if id_ in texts}
        return {id_: vector for id_, (digest, vector) in told.items() if digest == text_digest(texts[id_])}

    async def _asked(self, hosts: Sequence[str], shard: int, ids: Sequence[str]) -> Mapping[str, tuple[str, bytes]]:
        host = hosts[shard]
        if self._clock() < self._alone_until.get(host, float("-inf")):
            return {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._connect(host) as giver:
                self._require(giver.hello, host, shard, len(hosts))
                return await giver.embedded(self._identity.fingerprint, ids, PATIENCE_SECONDS)
        except (Refused, Unreachable, TimeoutError) as error:
            log.warning("texts are embedded that may have been before: %s", error or f"{host} is slow", extra={"host": host})
        self._alone_until[host] = self._clock() + LEFT_ALONE_SECONDS
        return {}

    def _require(self, hello: Hello, host: str, shard: int, shards: int) -> None:
        """An address may have been given to another pod."""
        said = (hello.index, hello.fingerprint, hello.shard, hello.shards)
        if said != (self._index, self._identity.fingerprint, shard, shards):
            what = f"{hello.index}, generation {hello.generation}, shard {hello.shard} of {hello.shards}"
            raise Unreachable(f"{host} is not what vectors are to be had from: it is of {what}")
