"""Answers to searches that were given before: in this process, and shared through Redis.

An entry is the answer's bytes. Its key names the request, the generation, its vector space, the route's epoch and the
positions of the shards that this gateway knows of: a write that it has seen, or a switch, makes a new key. What another
gateway wrote is seen within seconds; the time to live bounds the rest. Redis is an optimisation.
"""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from ..recent import Recent
from ..redis_store import RedisStore
from .metrics import Metrics
from .routes import Pin

MAX_PENDING_WRITES = 64
MAX_ENTRY_BYTES = 1 << 20


class ResultCache:
    def __init__(
        self, *, namespace: str, ttl_seconds: int, max_bytes: int, shared: RedisStore | None, metrics: Metrics
    ) -> None:
        self.on = ttl_seconds > 0
        self._prefix = f"eo:search:1:{namespace}:".encode()
        self._ttl_seconds = ttl_seconds
        self._local = Recent(max_bytes, ttl_seconds)
        self._shared = shared if self.on else None
        self._metrics = metrics
        self._writes: set[asyncio.Task[None]] = set()

    async def get(self, key: bytes) -> bytes | None:
        """Never raises for a cache that fails."""
        entry = self._local.get(key)
        if entry is None and self._shared is not None:
            (entry,) = await self._shared.get_many([self._prefix + key])
            if entry is not None:
                self._local.put(key, entry)
        self._metrics.cache_lookup(hit=entry is not None)
        return entry

    def put(self, key: bytes, entry: bytes) -> None:
        """Remembers, without making the caller wait for the shared cache."""
        if len(entry) > MAX_ENTRY_BYTES:
            return
        self._local.put(key, entry)
        if self._shared is not None and len(self._writes) < MAX_PENDING_WRITES:
            write = asyncio.ensure_future(self._shared.set_many({self._prefix + key: entry}, self._ttl_seconds))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Waits for writes under way."""
        await asyncio.gather(*self._writes, return_exceptions=True)


def cache_key(path: str, body: bytes, pin: Pin, positions: Sequence[int]) -> bytes:
    """16 bytes."""
    generation = pin.generation
    state = [path, generation.generation, generation.fingerprint, pin.epoch, positions]
    digest = blake2b(orjson.dumps(state), digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
