"""Vectors that were computed before: in this process, and shared through Redis.

An entry is bytes: the text's token count (uint32, little-endian) and the raw float32 vector. The key names the vector
space and the arithmetic, so neither a new model nor a new engine class can read the other's entries. Redis is an
optimisation: where it is slow or gone, texts are computed.
"""

import asyncio
import hashlib
import logging
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..recent import Recent
from ..redis_store import RedisStore
from .engines.engine import Vectors
from .metrics import Metrics

log = logging.getLogger(__name__)

_COUNT = struct.Struct("<I")
MAX_PENDING_WRITES = 64


@dataclass(frozen=True, slots=True)
class CachedVector:
    """vector: float32 [dim]; tokens: what the text counts in `usage`."""

    vector: Vectors
    tokens: int


def text_key(kind: str, text: str) -> bytes:
    """16 bytes that stand for a text, its prefix included. `kind` keeps ways of reading it apart (truncation, ids)."""
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(text.encode())
    return digest.digest()


class VectorCache:
    def __init__(
        self, *, namespace: str, dimensions: int, ttl_seconds: int, max_bytes: int, shared: RedisStore | None, metrics: Metrics
    ) -> None:
        self._prefix = f"eo:vector:1:{namespace}:".encode()
        self._entry_bytes = _COUNT.size + 4 * dimensions
        self._ttl_seconds = ttl_seconds
        self._local = Recent(max_bytes, ttl_seconds)
        self._shared = shared
        self._metrics = metrics
        self._writes: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, CachedVector]:
        """What is known of `keys`. Never raises for a cache that fails."""
        if not self._ttl_seconds:
            return {}
        found = {key: entry for key in keys if (entry := self._local.get(key)) is not None}
        missing = [key for key in keys if key not in found]
        if missing and self._shared:
            found |= await self._from_shared(self._shared, missing)
        hits = sum(key in found for key in keys)
        self._metrics.cache_lookups(hits=hits, misses=len(keys) - hits)
        return {key: self._decode(entry) for key, entry in found.items()}

    def put(self, vectors: Mapping[bytes, CachedVector]) -> None:
        """Remembers, without making the caller wait for the shared cache."""
        if not self._ttl_seconds:
            return
        entries = {key: _COUNT.pack(found.tokens) + found.vector.tobytes() for key, found in vectors.items()}
        for key, entry in entries.items():
            self._local.put(key, entry)
        if self._shared and len(self._writes) < MAX_PENDING_WRITES:
            write = asyncio.ensure_future(
                self._shared.set_many({self._prefix + key: entry for key, entry in entries.items()}, self._ttl_seconds)
            )
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Waits for writes under way."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    async def _from_shared(self, shared: RedisStore, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        entries = await shared.get_many([self._prefix + key for key in keys])
        found: dict[bytes, bytes] = {}
        for key, entry in zip(keys, entries, strict=True):
            if entry is not None and len(entry) == self._entry_bytes:
                found[key] = entry
                self._local.put(key, entry)
        return found

    def _decode(self, entry: bytes) -> CachedVector:
        return CachedVector(np.frombuffer(entry, dtype="<f4", offset=_COUNT.size), _COUNT.unpack_from(entry)[0])
