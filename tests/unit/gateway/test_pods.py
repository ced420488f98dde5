from typing import Any

import pytest

from embedding_serving.contract.index import IndexName
from embedding_serving.gateway.pods import Fleet

from .frame_shards import FrameShard, generation_of, until, world


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"index": "other"}, "test/other,"),
        ({"namespace": "other"}, "other/docs,"),
        ({"generation": 7}, "generation 7,"),
        ({"shard": 7}, "shard 7,"),
        ({"fingerprint": "f7"}, "fingerprint f7"),
    ],
)
async def test_a_pod_that_is_not_what_the_route_names_is_never_asked(other: dict[str, Any], said: str) -> None:
    """Addresses are used again: a pod of another index of the same model would answer, and wrongly."""
    async with world([[FrameShard()]]) as made:
        stranger = FrameShard(**other)
        await stranger.start()
        fleet = Fleet("test", IndexName("test", "docs"))
        try:
            (copies,) = fleet.shards(generation_of([[made.copies[0][0], stranger]])).copies
            await until(lambda: len(copies.readers()) == 1 and said in copies.why_not())
            for _ in range(3):
                await copies.changed(1.0)
                assert len(copies.readers()) == 1
        finally:
            fleet.close()
            await stranger.stop()
