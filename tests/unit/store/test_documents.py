"""What a client can rely on: upsert, patch, delete, versions, time to live, repetition."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from embedding_serving.contract.admin import Refusal
from embedding_serving.contract.index import NO_EXPIRY, FieldIndex, FieldType
from embedding_serving.filters import FilterError, parse
from embedding_serving.shard.store.records import Change, Op, Refused, WriteBatch
from embedding_serving.shard.store.store import Store

from .conftest import Clock, Shard, vector


async def test_an_upsert_is_found_and_replaces_what_was_there(shard: Shard) -> None:
    first = await shard.put("a", "one")
    second = await shard.put("a", "two")
    assert shard.text_of("a") == "two"
    assert first != second
    assert shard.store.state.counters.documents == 1


async def test_a_deleted_document_is_gone_and_stays_gone_after_a_restart(shard: Shard) -> None:
    await shard.put("a")
    result = await shard.delete("a")
    assert result.version is not None
    shard.reopen()
    assert shard.text_of("a") is None
    assert shard.store.state.counters.documents == 0
    assert (await shard.delete("a")).version is None


async def test_row_numbers_rise_and_are_never_used_twice(shard: Shard) -> None:
    for round_ in range(5):
        await shard.put("a", str(round_))
        shard.reopen()
    await shard.delete("a")
    rows = [int(row) for commit in shard.committed for row in commit.added]
    assert rows == sorted(set(rows))
    assert len(rows) == 5


async def test_what_is_committed_is_told_to_the_index(shard: Shard) -> None:
    await shard.put("a")
    before = shard.committed[-1]
    await shard.put("a")
    after = shard.committed[-1]
    assert list(after.removed) == list(before.added)
    assert after.vectors.shape == (1, 4)
    assert after.position == shard.store.state.position


async def test_a_document_that_comes_twice_in_one_group_is_told_once(shard: Shard) -> None:
    batches = [WriteBatch(1, "f1", f"x{n}", shard.clock(), [Change(Op.PUT, "a", str(n), vector=vector(n))]) for n in range(50)]
    await asyncio.gather(*(shard.store.write(batch) for batch in batches))
    assert shard.text_of("a") == "49"
    live = set()
    for commit in shard.committed:
        live |= set(commit.added.tolist())
        live -= set(commit.removed.tolist())
    assert live == set(shard.store.reader.live_rows(0).tolist())


@pytest.mark.parametrize(("given", "code"), [("0", "version_conflict"), ("9.9", "version_conflict")])
async def test_a_conditional_write_of_another_version_is_refused_and_stores_nothing(
    shard: Shard, given: str, code: str
) -> None:
    await shard.put("a", "one")
    (result,) = await shard.write(Change(Op.PUT, "a", "two", if_version=given, vector=vector(1)))
    assert result.code == code
    assert shard.text_of("a") == "one"


async def test_a_conditional_write_of_the_right_version_is_taken(shard: Shard) -> None:
    version = await shard.put("a", "one", if_version="0")
    (result,) = await shard.write(Change(Op.PUT, "a", "two", if_version=version, vector=vector(1)))
    assert result.code is None
    (gone,) = await shard.write(Change(Op.DELETE, "a", if_version=version))
    assert gone.code == "version_conflict"


async def test_a_patch_merges_metadata_and_keeps_text_and_vector(shard: Shard) -> None:
    await shard.put("a", "one", metadata='{"kind":"x","deep":{"a":1,"b":2}}')
    stored = shard.committed[-1].vectors
    (result,) = await shard.write(Change(Op.PATCH, "a", metadata='{"deep":{"a":null,"c":3},"kind":"y"}'))
    assert result.code is None
    (document,) = shard.store.reader.get(["a"])
    assert document is not None
    assert document.metadata == '{"kind":"y","deep":{"b":2,"c":3}}'
    assert document.text == "one"
    np.testing.assert_array_equal(shard.committed[-1].vectors, stored)
    assert shard.store.reader.ids(parse({"must": [{"key": "kind", "match": {"value": "x"}}]})) == []
    assert shard.store.reader.ids(parse({"must": [{"key": "kind", "match": {"value": "y"}}]})) == ["a"]


async def test_a_patch_of_nothing_says_so(shard: Shard) -> None:
    (result,) = await shard.write(Change(Op.PATCH, "a", metadata="{}"))
    assert result.code == "not_found"


async def test_a_repeated_request_answers_as_before_and_changes_nothing(shard: Shard) -> None:
    change = Change(Op.PUT, "a", "one", vector=vector(1))
    first = await shard.write(change, request_id="same")
    await shard.put("a", "two")
    shard.reopen()
    assert await shard.write(change, request_id="same") == first
    assert shard.text_of("a") == "two"


async def test_a_repeated_delete_does_not_delete_what_came_later(shard: Shard) -> None:
    await shard.write(Change(Op.DELETE, "a"), request_id="same")
    await shard.put("a", "later")
    await shard.write(Change(Op.DELETE, "a"), request_id="same")
    assert shard.text_of("a") == "later"


async def test_a_refused_condition_is_refused_again_when_repeated(shard: Shard) -> None:
    await shard.put("a")
    change = Change(Op.PUT, "a", "two", if_version="0", vector=vector(1))
    await shard.write(change, request_id="same")
    await shard.delete("a")
    (again,) = await shard.write(change, request_id="same")
    assert again.code == "version_conflict"
    assert shard.text_of("a") is None


async def test_a_repetition_is_known_by_what_the_client_asked_whatever_vector_was_made_of_it(shard: Shard) -> None:
    (first,) = await shard.write(Change(Op.PUT, "a", "one", vector=vector(1), digest="x"), request_id="key")
    (again,) = await shard.write(Change(Op.PUT, "a", "one", vector=vector(2), digest="x"), request_id="key")
    assert again == first
    (other,) = await shard.write(Change(Op.PUT, "a", "two", vector=vector(1), digest="y"), request_id="key")
    assert other.code == "idempotency_key_reused"
    assert shard.text_of("a") == "one"


async def test_a_refusal_is_repeated_to_the_same_request_alone(shard: Shard) -> None:
    change = Change(Op.PUT, "a", "one", if_version="7.7", vector=vector(1), digest="x")
    (first,) = await shard.write(change, request_id="key")
    assert first.code == "version_conflict"
    await shard.put("a")
    assert await shard.write(change, request_id="key") == [first]
    (other,) = await shard.write(replace(change, digest="y"), request_id="key")
    assert other.code == "idempotency_key_reused"


async def test_a_request_older_than_what_is_remembered_is_refused(shard: Shard, clock: Clock) -> None:
    issued_at = clock.ms
    clock.ms += 61_000
    with pytest.raises(Refused) as refused:
        await shard.write(Change(Op.PUT, "a", "one"), issued_at=issued_at)
    assert refused.value.code is Refusal.REQUEST_EXPIRED


async def test_requests_are_forgotten_when_no_copy_of_them_can_be_accepted(shard: Shard, clock: Clock) -> None:
    await shard.put("a")
    await shard.delete("a")
    clock.ms += 61_000
    assert await shard.store.purge() == 3
    assert shard.store.state.counters.tombstones == 0


async def test_a_document_expires(shard: Shard, clock: Clock) -> None:
    await shard.put("a", expires_at=clock.ms + 1_000)
    await shard.put("b")
    clock.ms += 1_001
    assert shard.text_of("a") is None
    assert shard.store.reader.count(None) == 1
    assert shard.store.state.counters.documents == 2
    assert await shard.store.expire() == 1
    assert shard.store.state.counters.documents == 1
    assert await shard.store.expire() == 0


async def test_a_patch_keeps_an_expiry_or_takes_it_away(shard: Shard, clock: Clock) -> None:
    await shard.put("a", expires_at=clock.ms + 1_000)
    await shard.write(Change(Op.PATCH, "a", metadata='{"n":1}'))
    (kept,) = shard.store.reader.get(["a"])
    assert kept is not None
    assert kept.expires_at == clock.ms + 1_000
    await shard.write(Change(Op.PATCH, "a", expires_at=NO_EXPIRY))
    clock.ms += 1_001
    assert shard.text_of("a") == "text"
    assert await shard.store.expire() == 0


async def test_an_expired_document_can_be_created_again(shard: Shard, clock: Clock) -> None:
    await shard.put("a", expires_at=clock.ms + 1_000)
    clock.ms += 1_001
    assert await shard.put("a", "new", if_version="0")
    assert shard.text_of("a") == "new"


async def test_delete_by_filter_deletes_what_matches_once(shard: Shard, clock: Clock) -> None:
    kinds = ["odd" if number % 2 else "even" for number in range(2_500)]
    documents = [Change(Op.PUT, f"d{number}", "t", metadata=f'{{"kind":"{kind}"}}') for number, kind in enumerate(kinds)]
    for start in range(0, 2_500, 500):
        await shard.write(*documents[start : start + 500])
    odd = parse({"must": [{"key": "kind", "match": {"value": "odd"}}]})
    assert await shard.store.delete_by_filter(1, "f1", "request", clock.ms, odd) == 1_250
    await shard.write(Change(Op.PUT, "d1", "again", metadata='{"kind":"odd"}'))
    assert await shard.store.delete_by_filter(1, "f1", "request", clock.ms, odd) == 1_250
    assert shard.text_of("d1") == "again"
    assert shard.store.reader.count(None) == 1_251


async def test_another_delete_by_filter_under_a_used_name_deletes_nothing(shard: Shard, clock: Clock) -> None:
    await shard.put("a", metadata='{"kind":"odd"}')
    await shard.put("b", metadata='{"kind":"even"}')
    odd, even = (parse({"must": [{"key": "kind", "match": {"value": kind}}]}) for kind in ("odd", "even"))
    for _ in range(2):
        assert await shard.store.delete_by_filter(1, "f1", "request", clock.ms, odd, digest="odd") == 1
    with pytest.raises(Refused) as refused:
        await shard.store.delete_by_filter(1, "f1", "request", clock.ms, even, digest="even")
    assert refused.value.code is Refusal.IDEMPOTENCY_KEY_REUSED
    assert shard.text_of("b") == "text"


async def test_scrolling_sees_every_document_once_while_others_change(shard: Shard) -> None:
    await shard.write(*(Change(Op.PUT, f"d{number:03}", "t") for number in range(100)))
    seen: list[str] = []
    after: str | None = None
    while page := shard.store.reader.scroll(after, 7, None):
        seen += [document.id for document in page]
        after = seen[-1]
        await shard.put("d001", "moved")
    assert seen == [f"d{number:03}" for number in range(100)]


async def test_facets_count_documents_by_value(shard: Shard) -> None:
    await shard.write(
        Change(Op.PUT, "a", metadata='{"kind":["x","y"],"n":1}'),
        Change(Op.PUT, "b", metadata='{"kind":"x","n":true}'),
        Change(Op.PUT, "c", metadata='{"other":1,"deep":{"a":"z"}}'),
    )
    assert shard.store.reader.facet("deep.a", None, 10) == [("z", 1)]
    assert shard.store.reader.facet("deep", None, 10) == []
    with pytest.raises(FilterError):
        shard.store.reader.facet('de"ep', None, 10)
    assert shard.store.reader.facet("kind", None, 10) == [("x", 2), ("y", 1)]
    assert sorted(map(repr, shard.store.reader.facet("n", None, 10))) == ["(1, 1)", "(True, 1)"]


async def test_the_digest_depends_on_the_documents_alone(shard: Shard) -> None:
    empty = shard.store.state.counters.digest
    await shard.put("a", "one")
    one = shard.store.state.counters.digest
    await shard.put("b", "two")
    await shard.delete("b")
    assert one != empty
    assert shard.store.state.counters.digest == one
    await shard.delete("a")
    assert shard.store.state.counters.digest == empty


async def test_a_field_declared_later_is_entered_for_earlier_documents(shard: Shard) -> None:
    await shard.put("a", metadata='{"late":"x"}')
    shard.store.close()
    later = Store.open(shard.directory, shard.identity, [FieldIndex(name="late", type=FieldType.KEYWORD)], now_ms=shard.clock)
    later.start()
    shard.store = later
    wanted = parse({"must": [{"key": "late", "match": {"value": "x"}}]})
    assert later.reader.ids(wanted) == ["a"]
    await later.index_declared_fields()
    assert later.reader.ids(wanted) == ["a"]
    await shard.delete("a")
    assert later.reader.ids(wanted) == []


async def test_words_find_the_texts_that_live(shard: Shard) -> None:
    await shard.put("a", "a quick brown fox", metadata='{"kind":"x"}')
    await shard.put("b", "a lazy brown dog", metadata='{"kind":"y"}')
    rows, scores = shard.store.reader.keywords("BROWN fox", 10, None)
    assert [document.id for document in shard.store.reader.fetch(rows.tolist()) if document] == ["a", "b"]
    assert scores[0] > scores[1]
    await shard.put("a", "something else")
    assert len(shard.store.reader.keywords("fox", 10, None)[0]) == 0
    only = parse({"must": [{"key": "kind", "match": {"value": "x"}}]})
    assert len(shard.store.reader.keywords("brown", 10, only)[0]) == 0
    await shard.delete("b")
    assert len(shard.store.reader.keywords("brown", 10, None)[0]) == 0


async def test_a_caller_that_goes_away_does_not_stop_the_writer(shard: Shard) -> None:
    batches = [WriteBatch(1, "f1", f"gone{n}", shard.clock(), [Change(Op.PUT, f"d{n}", vector=vector(n))]) for n in range(200)]
    writes = [asyncio.create_task(shard.store.write(batch)) for batch in batches]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert await shard.put("after")
    there = shard.store.reader.get([f"d{n}" for n in range(1, 200, 2)])
    assert None not in there


async def test_the_bytes_of_texts_are_counted(shard: Shard) -> None:
    await shard.put("a", "naïve")
    await shard.put("b", "one")
    assert shard.store.state.counters.text_bytes == len("naïveone".encode())
    await shard.put("a", "two")
    await shard.delete("b")
    shard.reopen()
    assert shard.store.state.counters.text_bytes == len("two")
