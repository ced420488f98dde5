"""Entries of a cache in this process: least recently used out first, bounded in bytes, each for a limited time."""

import time
from collections import OrderedDict

ENTRY_OVERHEAD_BYTES = 200
"""What an entry takes beside its own bytes."""


class Recent:
    def __init__(self, max_bytes: int, ttl_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        known = self._entries.get(key)
        if known is None:
            return None
        expires_seconds, entry = known
        if time.monotonic() >= expires_seconds:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: bytes) -> None:
        if key in self._entries:
            self._remove(key)
        self._entries[key] = (time.monotonic() + self._ttl_seconds, entry)
        self._bytes += len(entry) + ENTRY_OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: bytes) -> None:
        _, entry = self._entries.pop(key)
        self._bytes -= len(entry) + ENTRY_OVERHEAD_BYTES
