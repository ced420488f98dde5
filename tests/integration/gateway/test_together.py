"""Searches of many clients at once: each has the answer that it would have had alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from embedding_serving.contract.index import shard_of

from .world import Client, vectors

CLIENTS = 16
QUERIES = vectors(160, seed=71)


def in_shard(prefix: str, shard: int, number: int) -> list[str]:
    ids = (f"{prefix}{index}" for index in range(100 * number))
    return [id_ for id_ in ids if shard_of(id_, 2) == shard][:number]


@pytest.fixture
def stored(client: Client) -> Iterator[list[str]]:
    ids = [f"together{number}" for number in range(250)]
    made = vectors(len(ids), seed=72)
    client.put([{"id": id_, "vector": one.tolist(), "text": f"of {id_}"} for id_, one in zip(ids, made, strict=True)])
    yield ids
    client.post("/v1/documents/delete", {"ids": ids})


def test_searches_at_once_are_answered_as_each_alone(client: Client, stored: list[str]) -> None:
    assert stored
    shapes: list[dict[str, Any]] = [{"k": 10}, {"k": 3, "include": ["text"]}, {"k": 10, "consistency": "strong"}]
    searches = [{"vector": one.tolist(), **shapes[index % len(shapes)]} for index, one in enumerate(QUERIES)]

    def hits(search: dict[str, Any]) -> Any:
        return client.post("/v1/search", search)["hits"]

    alone = [hits(search) for search in searches]
    with ThreadPoolExecutor(CLIENTS) as clients:
        at_once = list(clients.map(hits, searches))
    for one, other in zip(alone, at_once, strict=True):
        assert [hit["id"] for hit in one] == [hit["id"] for hit in other]
        assert [hit.get("text") for hit in one] == [hit.get("text") for hit in other]
        assert [hit["score"] for hit in one] == pytest.approx([hit["score"] for hit in other])


def test_hits_that_lie_in_one_shard_all_have_their_documents(client: Client) -> None:
    """More than a shard sends unasked."""
    ids = in_shard("uneven", 1, 40)
    near = QUERIES[0].tolist()
    client.put([{"id": id_, "vector": near, "text": f"of {id_}"} for id_ in ids])
    try:
        hits = client.post("/v1/search", {"vector": near, "k": 40, "consistency": "strong"})["hits"]
        assert {hit["id"]: hit["text"] for hit in hits} == {id_: f"of {id_}" for id_ in ids}
    finally:
        client.post("/v1/documents/delete", {"ids": ids})
