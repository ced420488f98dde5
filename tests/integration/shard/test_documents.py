"""What a gateway can do with one shard over its frames."""

import time

import numpy as np
import pytest

from embedding_serving.wire.errors import WireError

from .shard_process import DIMENSIONS, ShardProcess, calling, vectors


async def test_what_is_written_is_found_read_and_deleted(shard: ShardProcess) -> None:
    made = vectors(20, seed=1)
    async with calling(shard) as gateway:
        written = await gateway.put([f"d{n}" for n in range(20)], made, text="words", metadata='{"lang":"de"}')
        assert [result["id"] for result in written.head["results"]] == [f"d{n}" for n in range(20)]
        assert await gateway.search(made[7], k=3, consistency="strong") == (await gateway.search(made[7], k=3))
        assert (await gateway.search(made[7], k=3))[0] == "d7"
        (document,) = await gateway.get(["d7"])
        assert document[1:5] == ["d7", written.head["results"][7]["version"], "words", '{"lang":"de"}']
        await gateway.write([{"op": "delete", "id": "d7"}])
        assert "d7" not in await gateway.search(made[7], k=20)
        assert await gateway.get(["d7", "d8"]) == [None, (await gateway.get(["d8"]))[0]]


async def test_an_update_is_found_by_its_new_vector_alone(shard: ShardProcess) -> None:
    old, new = vectors(2, seed=2)
    async with calling(shard) as gateway:
        await gateway.put(["a"], old[None])
        await gateway.put(["a"], new[None])
        answer = await gateway.call("search", new.tobytes(), k=5)
        rows, scores = np.frombuffer(answer.tail[:40], "<i8"), np.frombuffer(answer.tail[40:], "<f4")
        assert list(rows >= 0) == [True] + [False] * 4
        assert scores[0] == pytest.approx(1.0, abs=1e-5)


async def test_hits_are_fetched_by_row_with_what_is_asked_for(shard: ShardProcess) -> None:
    made = vectors(3, seed=3)
    async with calling(shard) as gateway:
        await gateway.put(["a", "b", "c"], made, text="t", metadata='{"n":1}')
        answer = await gateway.call("search", made[1].tobytes(), k=2)
        rows = np.frombuffer(answer.tail[:16], "<i8").tolist()
        include = {"text": False, "metadata": True, "vector": True}
        fetched = await gateway.call("fetch", rows=[*rows, 999], include=include)
        documents = fetched.head["documents"]
        assert [document and document[1] for document in documents][0::2] == ["b", None]
        assert documents[0][3:5] == [None, '{"n":1}']
        stored = np.frombuffer(fetched.tail, "<f4").reshape(2, DIMENSIONS)
        assert stored[0] == pytest.approx(made[1], abs=1e-6)


async def test_documents_come_with_a_search_unless_they_are_more_than_is_wanted(shard: ShardProcess) -> None:
    made = vectors(3, seed=5)
    async with calling(shard) as gateway:
        await gateway.put(["a", "b", "c"], made, text="t" * 500)
        for most, told in ((None, True), (5_000, True), (1_000, False)):
            head = {} if most is None else {"documents_bytes": most}
            answer = await gateway.call("search", made[1].tobytes(), k=3, documents=True, **head)
            assert ("documents" in answer.head) == told
            assert np.frombuffer(answer.tail[:24], "<i8").min() > 0


async def test_filters_follow_writes_and_deletes(shard: ShardProcess) -> None:
    made = vectors(40, seed=4)
    even = {"must": [{"key": "even", "match": {"value": True}}]}
    async with calling(shard) as gateway:
        for n in range(40):
            await gateway.put([f"d{n}"], made[n : n + 1], metadata=f'{{"even":{"true" if n % 2 == 0 else "false"}}}')
            hits = await gateway.search(made[n], k=50, filter=even)
            assert sorted(hits) == sorted(f"d{m}" for m in range(0, n + 1, 2))
        await gateway.write([{"op": "delete", "id": "d0"}, {"op": "patch", "id": "d1", "metadata": '{"even":true}'}])
        hits = await gateway.search(made[0], k=50, filter=even)
        assert sorted(hits) == sorted({f"d{m}" for m in range(0, 40, 2)} - {"d0"} | {"d1"})
        assert (await gateway.call("count", filter=even)).head["count"] == 20
        assert (await gateway.call("facet", field="even")).head["values"] == [[True, 20], [False, 19]]
        deleted = await gateway.call("delete_by_filter", filter=even, request_id="r", issued_at=_now())
        assert deleted.head["deleted"] == 20
        assert await gateway.search(made[2], k=50, filter=even) == []


async def test_a_scroll_goes_through_every_document_once(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        ids = sorted(f"d{n}" for n in range(25))
        await gateway.put(ids, vectors(25, seed=5))
        seen: list[str] = []
        more = True
        while more:
            page = await gateway.call("scroll", limit=10, after=seen[-1] if seen else None)
            seen += [document[1] for document in page.head["documents"]]
            more = page.head["more"]
        assert seen == ids


async def test_a_repeated_request_is_done_once(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        put = [{"op": "put", "id": "a", "vector": True}]
        first = await gateway.write(put, vectors(1, seed=6), request_id="once")
        await gateway.write([{"op": "delete", "id": "a"}])
        again = await gateway.write(put, vectors(1, seed=6), request_id="once")
        assert again.head["results"] == first.head["results"]
        assert await gateway.get(["a"]) == [None]


async def test_a_read_waits_for_the_position_of_its_own_write(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        written = await gateway.put(["a"], vectors(1, seed=7))
        assert await gateway.get(["a"], position=written.head["p"]) != [None]
        with pytest.raises(WireError) as refused:
            await gateway.get(["a"], position=written.head["p"] + 1, deadline_ms=200)
        assert refused.value.code == "position_not_reached"
        waiting = gateway.connection.send(
            {
                "op": "get",
                "g": 1,
                "f": "client-16-cosine",
                "ids": ["b"],
                "position": written.head["p"] + 1,
                "deadline_ms": 20_000,
            },
            timeout=20,
        )
        await gateway.put(["b"], vectors(1, seed=8))
        assert (await waiting).head["documents"][0][1] == "b"


@pytest.mark.parametrize(
    ("op", "tail", "head", "code", "field"),
    [
        ("search", bytes(4 * 15), {"k": 1}, "bad_request", "vector"),
        ("search", np.full(16, np.nan, "<f4").tobytes(), {"k": 1}, "bad_request", "vector"),
        ("search", bytes(64), {"k": 10**6}, "bad_request", "k"),
        ("search", bytes(64), {"k": 1, "queries": 0}, "bad_request", "queries"),
        ("search", bytes(64), {"k": 1, "filter": {"must": [{"key": "a", "near": 1}]}}, "bad_request", "filter.must[0]"),
        ("search", bytes(64), {"k": 1, "f": "client-16-dot"}, "wrong_fingerprint", None),
        ("search", bytes(64), {"k": 1, "g": 2}, "wrong_generation", None),
        ("get", b"", {"ids": "a"}, "bad_request", "ids"),
        ("teleport", b"", {}, "unknown_op", None),
        ("write", b"", {"changes": [{"op": "put", "id": "", "vector": False}]}, "bad_request", "changes[0].id"),
        ("write", bytes(64), {"changes": [{"op": "put", "id": "z", "vector": True}]}, "bad_request", "changes[0].vector"),
        ("write", bytes(60), {"changes": [{"op": "put", "id": "z", "vector": True}]}, "bad_request", "changes"),
        ("write", b"", {"changes": [{"op": "put", "id": "z"}]}, "bad_request", "changes[0].vector"),
        (
            "write",
            b"",
            {"changes": [{"op": "put", "id": "z", "failure": "x", "metadata": "[]"}]},
            "bad_request",
            "changes[0].metadata",
        ),
        ("write", b"", {"changes": [{"op": "delete", "id": "z"}], "f": "other"}, "wrong_fingerprint", None),
        ("write", b"", {"changes": [{"op": "delete", "id": "z"}], "issued_at": 1}, "request_expired", None),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong_and_stores_nothing(
    shard: ShardProcess, op: str, tail: bytes, head: dict[str, object], code: str, field: str | None
) -> None:
    if op == "write":
        head = {"request_id": "r", "issued_at": _now()} | head
    async with calling(shard) as gateway:
        with pytest.raises(WireError) as refused:
            await gateway.call(op, tail, **head)
        assert refused.value.code == code
        assert (refused.value.field or "").startswith(field or "")
        assert (await gateway.call("count")).head["count"] == 0
    assert shard.info().position == 0


def _now() -> int:

    return time.time_ns() // 1_000_000


async def test_keywords_find_words_and_follow_changes(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        for id_, text in (("a", "the quick brown fox"), ("b", "a lazy dog"), ("c", "fox and dog")):
            await gateway.write([{"op": "put", "id": id_, "text": text, "vector": True}], vectors(1, seed=11))
        found = await gateway.call("keywords", text="fox", k=5, documents=True)
        assert sorted(document[1] for document in found.head["documents"][0]) == ["a", "c"]
        assert len(np.frombuffer(found.tail, "<i4")) == 3 * found.head["n"]
        await gateway.write([{"op": "delete", "id": "c"}])
        found = await gateway.call("keywords", text="dog", k=5, documents=True)
        assert [document[1] for document in found.head["documents"][0]] == ["b"]
