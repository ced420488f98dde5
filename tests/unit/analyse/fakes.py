"""A generation in memory: texts have vectors, documents too, and the nearest are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from embedding_serving.analyse.side import Hit, Query, ShardSize, Vector
from embedding_serving.filters import Filter
from embedding_serving.outgoing.failures import EncodingFailed, TextRefused


@dataclass
class FakeSide:
    """blind: documents that its index never finds. refused: texts that its model does not take; failing: or breaks on."""

    documents: dict[str, Vector]
    texts: dict[str, Vector] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    name: str = ""

    async def vector_of(self, query: Query) -> Vector | None:
        self.journal.append(self.name)
        if query.vector is not None:
            return query.vector
        text = query.text or ""
        self.asked.append(text)
        if text in self.refused:
            raise TextRefused(0, "text_too_long", "this text is too long")
        if text in self.failing:
            raise EncodingFailed("the encoder answered 500")
        return self.texts.get(text)

    async def near(self, vector: Vector, k: int, filter_: Filter | None = None, *, exact: bool = False) -> list[Hit]:
        hits = [Hit(id_, float(vector @ one)) for id_, one in self.documents.items() if exact or id_ not in self.blind]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    async def known(self, ids: Sequence[str]) -> set[str]:
        return set(ids) & set(self.documents)

    async def query_of(self, id_: str, characters: int) -> Query | None:
        return Query(text=f"about {id_}"[:characters]) if id_ in self.documents else None


@dataclass
class FakeRows:
    """Shards whose row numbers are partly gone: `rows[shard]` has the documents of the others."""

    rows: list[dict[int, str]]
    last: int
    scrolled: int = 0
    fetched: int = 0

    async def sizes(self) -> list[ShardSize]:
        return [ShardSize(len(rows), self.last) for rows in self.rows]

    async def ids_of_rows(self, shard: int, rows: Sequence[int]) -> list[str]:
        self.fetched += len(rows)
        return [self.rows[shard][row] for row in rows if row in self.rows[shard]]

    async def first_ids(self, shard: int, number: int) -> list[str]:
        self.scrolled += 1
        return sorted(self.rows[shard].values())[:number]


def unit(seed: int, dimensions: int = 8) -> Vector:
    made = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    vector: Vector = made / np.linalg.norm(made)
    return vector
