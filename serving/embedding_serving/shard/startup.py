"""From a volume to a shard that can answer: lock, store, index, in threads beside the probes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..contract.reports import Outcome
from ..contract.settings import ShardSettings
from ..failure import StartFailed
from .ann.errors import UnsupportedIndexTypeError
from .ann.index import VectorIndex
from .index_feed import IndexFeed
from .lock import VolumeLock, VolumeTaken
from .store.records import Identity, StoreCorrupt, StoreError
from .store.store import Store
from .store.writer import Commit

log = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 60.0
"""Longer than a pod takes to end: its successor on the volume waits for it."""
CACHE_DIR = "cache"


@dataclass(frozen=True, slots=True)
class Opened:
    store: Store
    index: VectorIndex
    index_feed: IndexFeed


def take_volume(settings: ShardSettings) -> VolumeLock:
    """Blocking. Raises StartFailed."""
    directory = Path(settings.data_dir)
    try:
        return VolumeLock.take(directory, LOCK_WAIT_SECONDS)
    except VolumeTaken as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from None
    except OSError as error:
        raise StartFailed(Outcome.UNAVAILABLE, f"the volume at {directory} cannot be read: {error.strerror}") from error


def open_shard(settings: ShardSettings, threads: int, on_measured: Callable[[Commit], None]) -> Opened:
    """Blocking, for as long as the index takes to load. Raises StartFailed, StoreCorrupt.

    The store's writer is not started yet, so that the index misses nothing.
    """
    feed = IndexFeed()
    store = _open_store(settings, feed, on_measured)
    try:
        index = VectorIndex(
            Path(settings.data_dir) / CACHE_DIR,
            settings.dimensions,
            settings.distance,
            settings.index_options,
            store.reader,
            threads=threads,
            identity=store.state.protocol.history,
        )
        index.load()
    except UnsupportedIndexTypeError as error:
        store.close()
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from error
    except BaseException:
        store.close()
        raise
    feed.attach(index)
    return Opened(store, index, feed)


def _open_store(settings: ShardSettings, feed: IndexFeed, on_measured: Callable[[Commit], None]) -> Store:
    identity = Identity(
        generation=settings.generation,
        shard=settings.shard,
        shards=settings.shards,
        fingerprint=settings.fingerprint,
        dimensions=settings.dimensions,
        distance=settings.distance,
    )
    try:
        return Store.open(
            Path(settings.data_dir),
            identity,
            settings.fields,
            retention_seconds=settings.request_retention_seconds,
            on_commit=feed,
            on_measured=on_measured,
        )
    except StoreCorrupt:
        raise
    except StoreError as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from error
