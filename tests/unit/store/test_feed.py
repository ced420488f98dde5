"""Copies: whatever is read from a feed, in whatever pages and with whatever interruptions, ends as the source is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedding_serving.contract.admin import FeedSource, Fence, Follow, Refusal, Unfence
from embedding_serving.contract.index import ring_range, shard_of
from embedding_serving.filters import parse
from embedding_serving.shard.store.records import Change, Committed, Identity, Lease, Op, Page, Refused, WriteBatch, WriteResult
from embedding_serving.shard.store.state import Source
from embedding_serving.shard.store.store import Store

from .conftest import IDENTITY, Clock, Shard, vector

WHOLE = {"lower": 0, "upper": 1 << 64}


async def follow(copy: Shard, source: Shard) -> None:
    history = source.store.state.protocol.history
    await copy.store.follow(FeedSource(shard=0, history=history, host="source", with_vectors=True))
    followed = copy.store.state.sources[0]
    await source.store.lease(Lease("copy", followed.nonce, followed.cursor))


def pull(copy: Shard, source: Shard, limit: int = 500) -> Page:
    followed = copy.store.state.sources[0]
    lease = Lease("copy", followed.nonce, followed.cursor)
    return source.store.pull(lease, followed.history, **WHOLE, with_vectors=True, limit=limit)


async def catch_up(copy: Shard, source: Shard, limit: int = 3) -> None:
    while True:
        page = pull(copy, source, limit)
        await copy.store.apply_page(0, copy.store.state.sources[0].nonce, page)
        if page.upto >= page.position:
            return


def same(copy: Shard, source: Shard) -> bool:
    return copy.store.state.counters.digest == source.store.state.counters.digest


async def test_a_copy_ends_as_its_source(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    for number in range(10):
        await shard.put(f"d{number}")
    await follow(copy, shard)
    await catch_up(copy, shard)
    await shard.delete("d3")
    await shard.put("d4", "changed")
    copy.reopen()
    await catch_up(copy, shard)
    assert same(copy, shard)
    assert copy.text_of("d3") is None
    assert copy.text_of("d4") == "changed"
    assert len(copy.store.reader.live_rows(0)) == 9


async def test_a_page_is_applied_once_and_in_order(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    for number in range(6):
        await shard.put(f"d{number}")
    await follow(copy, shard)
    first = pull(copy, shard, 3)
    await copy.store.apply_page(0, copy.store.state.sources[0].nonce, first)
    with pytest.raises(Refused) as refused:
        await copy.store.apply_page(0, copy.store.state.sources[0].nonce, first)
    assert refused.value.code is Refusal.NOT_CAUGHT_UP
    assert copy.store.state.sources[0].cursor == first.upto


async def test_rows_and_the_cursor_behind_them_are_one_transaction(
    shard: Shard, make: Callable[..., Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between two would leave rows out that the feed is never asked for again."""
    copy = make("copy")
    await shard.put("a")
    await follow(copy, shard)
    transactions = 0
    submitted = copy.store._submitted

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal transactions
        transactions += 1
        return await submitted(*arguments, **options)

    monkeypatch.setattr(copy.store, "_submitted", counted)
    await catch_up(copy, shard)
    assert (transactions, copy.text_of("a")) == (1, "text")


async def test_a_remembered_request_travels_with_the_feed(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    change = Change(Op.PUT, "a", "one", vector=vector(1), digest="one")
    (first,) = await shard.write(change, request_id="same")
    await shard.put("a", "two")
    await follow(copy, shard)
    await catch_up(copy, shard)
    await copy.admit(2)
    assert await copy.write(change, request_id="same") == [first]
    (other,) = await copy.write(replace(change, digest="other"), request_id="same")
    assert other.code == "idempotency_key_reused"
    assert copy.text_of("a") == "two"


async def test_tombstones_stay_until_every_lease_has_passed_them(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    await shard.put("a")
    await follow(copy, shard)
    await catch_up(copy, shard)
    await shard.delete("a")
    assert shard.store.state.counters.tombstones == 1
    await shard.store.purge()
    assert shard.store.state.counters.tombstones == 1
    await catch_up(copy, shard)
    pull(copy, shard)
    await shard.store.purge()
    assert shard.store.state.counters.tombstones == 0
    assert same(copy, shard)


async def test_a_copy_behind_its_own_lease_must_begin_again(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    for number in range(6):
        await shard.put(f"d{number}")
    await follow(copy, shard)
    await catch_up(copy, shard)
    pull(copy, shard)
    followed = copy.store.state.sources[0]
    with pytest.raises(Refused) as refused:
        shard.store.pull(Lease("copy", followed.nonce, 3), followed.history, **WHOLE, with_vectors=True, limit=3)
    assert refused.value.code is Refusal.RESET


async def test_a_copy_that_read_a_commit_before_it_was_published_is_not_told_to_begin_again(
    tmp_path: Path, clock: Clock
) -> None:
    seen: list[int] = []

    def read(commit: Committed) -> None:
        for _ in range(2 if commit.position else 0):
            page = store.pull(Lease("copy", "n", seen[-1] if seen else 0), history, **WHOLE, with_vectors=True, limit=500)
            seen.append(page.upto)

    store = Store.open(tmp_path, IDENTITY, on_commit=read, now_ms=clock)
    store.start()
    history = store.state.protocol.history
    await store.command(Unfence(epoch=1, history=history))
    await store.lease(Lease("copy", "n", 0))
    try:
        await store.write(WriteBatch(1, "f1", "r", clock(), [Change(Op.PUT, "a", "text", vector=vector(1))]))
        assert seen == [store.state.position] * 2
    finally:
        store.close()


async def test_reading_again_drops_what_the_source_no_longer_has_and_serves_meanwhile(
    shard: Shard, make: Callable[..., Shard]
) -> None:
    copy = make("copy")
    for number in range(6):
        await shard.put(f"d{number}")
    await follow(copy, shard)
    await catch_up(copy, shard)
    await shard.delete("d0")
    await copy.store.restart_source(0)
    followed = copy.store.state.sources[0]
    await shard.store.lease(Lease("copy", followed.nonce, 0))
    await shard.store.purge()  # the tombstone is gone: only its absence tells
    await copy.store.apply_page(0, followed.nonce, pull(copy, shard, 2))
    assert copy.text_of("d0") == "text"
    await catch_up(copy, shard)
    assert copy.text_of("d0") is None
    assert same(copy, shard)


async def test_another_history_is_not_read_on(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    await shard.put("a")
    await follow(copy, shard)
    other = make("other")
    with pytest.raises(Refused) as refused:
        pull(copy, other)
    assert refused.value.code is Refusal.WRONG_HISTORY
    with pytest.raises(Refused):
        await copy.store.apply_page(0, copy.store.state.sources[0].nonce, Page("else", 0, 1, 1, [], []))


async def test_an_older_version_never_replaces_a_newer_one(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    await shard.put("a", "old")
    page_of_old = shard.store.reader.feed(shard.store.state.protocol.history, 0, 0, 1 << 64, with_vectors=True, limit=9)
    await follow(copy, shard)
    await shard.put("a", "new")
    await catch_up(copy, shard)
    cursor = copy.store.state.sources[0].cursor
    replayed = Page(page_of_old.history, cursor, cursor + 1, cursor + 1, page_of_old.rows, ())
    await copy.store.apply_page(0, copy.store.state.sources[0].nonce, replayed)
    assert copy.text_of("a") == "new"


async def test_two_shards_become_three_without_loss(make: Callable[..., Shard]) -> None:
    sources = [make(f"old{n}", identity=Identity(1, n, 2, "f1", 4)) for n in range(2)]
    for source in sources:
        await source.admit()
    ids = [f"document {number}" for number in range(200)]
    for id_ in ids:
        await sources[shard_of(id_, 2)].put(id_)
    for target in range(3):
        new = make(f"new{target}", identity=Identity(2, target, 3, "f2", 4))
        lower, upper = ring_range(target, 3)
        wanted = [
            FeedSource(shard=n, history=source.store.state.protocol.history, host=str(n), lower=lower, upper=upper)
            for n, source in enumerate(sources)
        ]
        await new.store.command(Follow(epoch=2, history=new.store.state.protocol.history, sources=tuple(wanted)))
        for followed in new.store.state.sources:
            source = sources[followed.shard]
            await source.store.lease(Lease(f"g2-s{target}", followed.nonce, 0))
            page = source.store.pull(
                Lease(f"g2-s{target}", followed.nonce, 0),
                followed.history,
                lower=lower,
                upper=upper,
                with_vectors=True,
                limit=500,
            )
            await new.store.apply_page(followed.shard, followed.nonce, page)
        assert {id_ for id_ in ids if new.text_of(id_)} == {id_ for id_ in ids if shard_of(id_, 3) == target}


async def merged(make: Callable[..., Shard], *, of: int, into: int) -> tuple[list[Shard], Callable[[], Awaitable[list[Shard]]]]:
    """Writers of `of` shards, and what makes copies of theirs in `into` shards."""
    sources = [make(f"old{n}", identity=Identity(1, n, of, "f1", 4)) for n in range(of)]
    for source in sources:
        await source.admit()

    async def copied() -> list[Shard]:
        copies = []
        for target in range(into):
            copy = make(f"new{target}", identity=Identity(2, target, into, "f2", 4))
            lower, upper = ring_range(target, into)
            wanted = [
                FeedSource(shard=n, history=source.store.state.protocol.history, host=str(n), lower=lower, upper=upper)
                for n, source in enumerate(sources)
                if ring_range(n, of)[0] < upper and lower < ring_range(n, of)[1]
            ]
            await copy.store.command(Follow(epoch=2, history=copy.store.state.protocol.history, sources=tuple(wanted)))
            for followed in copy.store.state.sources:
                await read_all(copy, sources[followed.shard], followed, of)
            await copy.admit(3)
            copies.append(copy)
        return copies

    return sources, copied


async def read_all(copy: Shard, source: Shard, followed: Source, of: int) -> None:
    lease = Lease(f"new{copy.identity.shard}", followed.nonce, 0)
    await source.store.lease(lease)
    page = source.store.pull(lease, followed.history, lower=followed.lower, upper=followed.upper, with_vectors=True, limit=500)
    await copy.store.apply_page(followed.shard, followed.nonce, page, of)


async def test_a_request_of_several_shards_is_known_to_those_that_hold_its_documents_now(make: Callable[..., Shard]) -> None:
    sources, copied = await merged(make, of=2, into=3)
    changes = [Change(Op.PUT, f"document {n}", "first", vector=vector(n + 1)) for n in range(40)]
    first: dict[str, WriteResult] = {}
    for n, source in enumerate(sources):
        part = [change for change in changes if shard_of(change.id, 2) == n]
        first |= {one.id: one for one in await source.write(*part, request_id="same")}
    again: dict[str, WriteResult] = {}
    for n, copy in enumerate(await copied()):
        part = [change for change in changes if shard_of(change.id, 3) == n]
        again |= {one.id: one for one in await copy.write(*part, request_id="same")}
    assert again == first


DELETE_ALL = parse({"must_not": [{"key": "none", "exists": True}]})


async def deleted(shard: Shard, request_id: str = "purge") -> int:
    identity = shard.identity
    return await shard.store.delete_by_filter(identity.generation, identity.fingerprint, request_id, shard.clock(), DELETE_ALL)


async def test_a_deletion_by_filter_of_one_shard_is_done_in_all_that_come_of_it_and_counted_once(
    make: Callable[..., Shard],
) -> None:
    (source,), copied = await merged(make, of=1, into=2)
    for n in range(10):
        await source.put(f"document {n}")
    assert await deleted(source) == 10
    for n in range(10, 20):
        await source.put(f"document {n}")
    copies = await copied()
    assert sum([await deleted(copy) for copy in copies]) == 10
    assert sum(copy.store.state.counters.documents for copy in copies) == 10


async def test_a_deletion_by_filter_that_one_of_two_shards_had_not_done_is_done_where_they_are_one(
    make: Callable[..., Shard],
) -> None:
    sources, copied = await merged(make, of=2, into=1)
    for n in range(20):
        await sources[shard_of(f"document {n}", 2)].put(f"document {n}")
    await deleted(sources[0])
    (copy,) = await copied()
    left = copy.store.state.counters.documents
    assert left > 0
    assert await deleted(copy) == left
    assert copy.store.state.counters.documents == 0


async def test_a_source_that_is_read_again_takes_no_document_of_its_neighbour(make: Callable[..., Shard]) -> None:
    sources, _ = await merged(make, of=2, into=1)
    for n in range(20):
        await sources[shard_of(f"document {n}", 2)].put(f"document {n}")
    copy = make("one", identity=Identity(2, 0, 1, "f2", 4))
    wanted = [FeedSource(shard=n, history=source.store.state.protocol.history, host=str(n)) for n, source in enumerate(sources)]
    await copy.store.command(Follow(epoch=2, history=copy.store.state.protocol.history, sources=tuple(wanted)))
    for followed in copy.store.state.sources:
        await read_all(copy, sources[followed.shard], followed, of=2)
    gone = next(f"document {n}" for n in range(20) if shard_of(f"document {n}", 2) == 0)
    await sources[0].delete(gone)
    await sources[0].store.purge()
    await copy.store.restart_source(0)
    await read_all(copy, sources[0], copy.store.state.sources[0], of=2)
    assert copy.text_of(gone) is None
    assert copy.store.state.counters.documents == 19


async def test_a_page_that_is_read_ahead_leaves_the_lease_at_what_is_durable(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    for number in range(6):
        await shard.put(f"d{number}")
    await follow(copy, shard)
    followed = copy.store.state.sources[0]
    ahead = shard.store.pull(Lease("copy", followed.nonce, 0), followed.history, **WHOLE, with_vectors=True, limit=3, start=4)
    assert (ahead.cursor, shard.store.leases["copy"]) == (4, (followed.nonce, 0))
    with pytest.raises(Refused) as refused:
        shard.store.pull(Lease("copy", followed.nonce, 4), followed.history, **WHOLE, with_vectors=True, limit=3, start=3)
    assert refused.value.code is Refusal.RESET


async def test_a_shard_that_takes_no_writes_keeps_what_a_lease_has_not_passed_and_expires_nothing(
    shard: Shard, make: Callable[..., Shard]
) -> None:
    copy = make("copy")
    await shard.put("a", expires_at=shard.clock() + 10)
    await shard.put("b")
    await follow(copy, shard)
    await shard.delete("b")
    await shard.store.command(Fence(epoch=2, history=shard.store.state.protocol.history, deadline_seconds=60))
    shard.clock.ms += 1_000
    assert await shard.store.expire() == 0
    await shard.store.purge()
    assert shard.store.state.counters.tombstones == 1
    assert shard.store.state.counters.documents == 1


async def test_a_page_ends_where_requests_are_too_many(shard: Shard, make: Callable[..., Shard]) -> None:
    copy = make("copy")
    for number in range(40):
        await shard.put("rewritten", str(number))
    await follow(copy, shard)
    page = pull(copy, shard, 10)
    assert len(page.requests) == 10
    assert page.rows == []
    await catch_up(copy, shard, 10)
    assert copy.text_of("rewritten") == "39"
    assert same(copy, shard)
