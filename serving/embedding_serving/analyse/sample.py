"""Which documents queries are made of: drawn evenly by row number, so that neither ids nor age decide.

A scroll would give the first ids, which often are the oldest documents, and reading all of a large index to choose from
it would take longer than everything else.
"""

import random
from collections.abc import Sequence
from typing import Protocol

from .side import ShardSize

ROWS_AT_ONCE = 500
DRAWS = 20
"""Row numbers that are tried for each document wanted: most are gone where documents are replaced again and again."""


class Drawn(Protocol):
    """What is drawn from."""

    async def sizes(self) -> list[ShardSize]: ...

    async def ids_of_rows(self, shard: int, rows: Sequence[int]) -> list[str]: ...

    async def first_ids(self, shard: int, number: int) -> list[str]: ...


async def sample(side: Drawn, number: int, seed: int) -> list[str]:
    """At most `number` ids of different documents in random order, from each shard its share."""
    sizes = await side.sizes()
    total = sum(size.documents for size in sizes)
    chance = random.Random(seed)  # noqa: S311 - the same documents are to be drawn again
    found: list[str] = []
    for shard, size in enumerate(sizes):
        share = -(-number * size.documents // total) if total else 0
        found += await _of_shard(side, shard, size, share, chance)
    chance.shuffle(found)
    return found[:number]


async def _of_shard(side: Drawn, shard: int, size: ShardSize, number: int, chance: random.Random) -> list[str]:
    rows = chance.sample(range(1, size.position + 1), min(size.position, DRAWS * number))
    found: dict[str, None] = {}
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if len(found) >= number:
            break
        found |= dict.fromkeys(await side.ids_of_rows(shard, rows[start : start + ROWS_AT_ONCE]))
    if len(found) < min(number, size.documents):
        found |= dict.fromkeys(await side.first_ids(shard, number))
    return list(found)[:number]
