import numpy as np

from embedding_serving.embed.cache import CachedVector, VectorCache, text_key
from embedding_serving.embed.metrics import Metrics
from embedding_serving.recent import ENTRY_OVERHEAD_BYTES

ENTRY_BYTES = 4 + 4 * 2


def cache(ttl_seconds: int = 60, entries: int = 2) -> VectorCache:
    size = entries * (ENTRY_BYTES + ENTRY_OVERHEAD_BYTES)
    return VectorCache(namespace="n", dimensions=2, ttl_seconds=ttl_seconds, max_bytes=size, shared=None, metrics=Metrics())


def vector(value: float) -> CachedVector:
    return CachedVector(np.full(2, value, dtype=np.float32), tokens=7)


async def test_the_least_recently_used_entry_makes_room() -> None:
    known = cache(entries=2)
    known.put({b"a": vector(1), b"b": vector(2)})
    await known.get([b"a"])
    known.put({b"c": vector(3)})
    assert set(await known.get([b"a", b"b", b"c"])) == {b"a", b"c"}


async def test_an_entry_gives_back_vector_and_tokens() -> None:
    known = cache()
    known.put({b"a": vector(1.5)})
    found = (await known.get([b"a"]))[b"a"]
    assert found.vector.tolist() == [1.5, 1.5]
    assert found.tokens == 7


async def test_without_a_time_to_live_nothing_is_kept() -> None:
    known = cache(ttl_seconds=0)
    known.put({b"a": vector(1)})
    assert await known.get([b"a"]) == {}


def test_ways_of_reading_a_text_have_keys_of_their_own() -> None:
    keys = {text_key(kind, text) for kind in ("right", "left", "ids:right") for text in ("a", "ab", "1,2")}
    assert len(keys) == 9
