"""The shard against a model of it, over operation sequences that Hypothesis makes up."""

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from embedding_serving.contract.admin import FeedSource, Unfence
from embedding_serving.contract.index import Distance, FieldIndex, FieldType, IndexOptions
from embedding_serving.filters import metadata_text, parse
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.shard.index_feed import IndexFeed
from embedding_serving.shard.matches import Matches
from embedding_serving.shard.store.records import Change, Document, Identity, Lease, Op, Refused, WriteBatch, WriteResult
from embedding_serving.shard.store.store import Store
from faults.audit import audit
from faults.memory import made
from fixtures import filter_oracle
from fixtures.shard_model import Held, Model, Wanted

LONG = os.environ.get("FAULTS") == "long"
IDENTITY = Identity(generation=1, shard=0, shards=1, fingerprint="f", dimensions=3, distance=Distance.DOT)
FIELDS = tuple(
    FieldIndex(name=name, type=type_)
    for name, type_ in (("a", FieldType.KEYWORD), ("b", FieldType.NUMBER), ("a.b", FieldType.DATE_TIME))
)
RETENTION_SECONDS = 60
WHOLE = {"lower": 0, "upper": 1 << 64}

ids = st.sampled_from(["d0", "d1", "d2", "d0\n", "日本"])
vectors = st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])] * 3)
texts = st.none() | st.sampled_from(["", "one", "two words", "one two"]) | filter_oracle.any_text
changes = st.builds(
    Wanted,
    op=st.sampled_from(["put", "put", "put", "patch", "delete"]),
    id=ids,
    text=texts,
    metadata=st.none() | filter_oracle.metadata,
    vector=st.none() | vectors,
    expires_at=st.none() | st.none() | st.integers(1, 20_000),
    if_version=st.none() | st.none() | st.sampled_from(["0", "right", "1.1", "nonsense"]),
)
batches = st.lists(changes, min_size=1, max_size=4, unique_by=lambda change: change.id)


class Copy:
    """One open store with its index, as a shard has them."""

    def __init__(self, directory: Path, clock: Callable[[], int]) -> None:
        directory.mkdir(exist_ok=True)
        feed = IndexFeed()
        self.store = Store.open(directory, IDENTITY, FIELDS, retention_seconds=RETENTION_SECONDS, on_commit=feed, now_ms=clock)
        self.index = VectorIndex(
            directory / "cache",
            IDENTITY.dimensions,
            IDENTITY.distance,
            IndexOptions(),
            self.store.reader,
            threads=1,
            identity=self.store.state.protocol.history,
        )
        self.index.load()
        feed.attach(self.index)
        self.matches = Matches(self.store.reader, lambda: self.store.state.position)
        self.store.start()

    def close(self) -> None:
        self.store.close()
        self.index.close()


class ShardAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = made()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.shard = self.opened("shard")
        self.copy = self.opened("copy")
        self.numbers = itertools.count()
        self.filters: list[dict[str, Any]] = [{}, {"must_not": [{"key": "c", "exists": True}]}]
        self.requests: dict[str, tuple[WriteBatch, list[Wanted]]] = {}
        self.removals: dict[str, tuple[dict[str, Any], int]] = {}

    def teardown(self) -> None:
        self.shard.close()
        self.copy.close()
        self.runner.close()
        shutil.rmtree(self.directory)

    def opened(self, name: str) -> Copy:
        return Copy(self.directory / name, lambda: self.model.now)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize()
    def admit(self) -> None:
        history = self.shard.store.state.protocol.history
        self.run(self.shard.store.command(Unfence(epoch=1, history=history)))
        self.follow()

    # --- writes ---

    @rule(wanted=batches, seconds_late=st.sampled_from([0, 0, 0, 59]))
    def write(self, wanted: list[Wanted], seconds_late: int) -> None:
        live = self.model.live()
        filled = [self.filled(one, live.get(one.id)) for one in wanted]
        request = f"r{len(self.requests)}"
        issued_at = self.model.now - 1_000 * seconds_late
        batch = WriteBatch(1, "f", request, issued_at, [real(one) for one in filled])
        self.requests[request] = (batch, filled)
        self.send(request)

    def filled(self, one: Wanted, before: Held | None) -> Wanted:
        """With the values that are only known now."""
        expires_at = None if one.expires_at is None else self.model.now + one.expires_at
        right = before.version if before else "0"
        return replace(one, expires_at=expires_at, if_version=right if one.if_version == "right" else one.if_version)

    @precondition(lambda self: self.model.live())
    @rule(data=st.data(), purged=st.booleans())
    def delete_one(self, data: st.DataObject, purged: bool) -> None:
        self.write([Wanted("delete", data.draw(st.sampled_from(sorted(self.model.live()))))], 0)
        if purged:
            self.run(self.shard.store.purge())

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def write_again(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(sorted(self.requests))))

    def send(self, request: str) -> None:
        batch, wanted = self.requests[request]
        if batch.issued_at < self.model.now - 1_000 * RETENTION_SECONDS:
            try:
                self.run(self.shard.store.write(batch))
            except Refused:
                return
            raise AssertionError("a copy of a request that may be forgotten was taken")
        results: list[WriteResult] = list(self.run(self.shard.store.write(batch)).results)
        said = [result.code or result.version for result in results]
        assert said == self.model.write(request, wanted, [result.version for result in results])

    @rule(filter_=filter_oracle.filters)
    def delete_by_filter(self, filter_: dict[str, Any]) -> None:
        matching = self.model.live(filter_)
        request = f"f{next(self.numbers)}"
        self.removals[request] = (filter_, len(matching))
        assert self.remove(request, self.model.now) == len(matching)
        for id_ in matching:
            del self.model.held[id_]

    @precondition(lambda self: self.removals)
    @rule(data=st.data())
    def delete_by_filter_again(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.removals)))
        assert self.remove(request, self.model.now) == self.removals[request][1]

    def remove(self, request: str, issued_at: int) -> int:
        filter_ = parse(self.removals[request][0])
        return int(self.run(self.shard.store.delete_by_filter(1, "f", request, issued_at, filter_)))

    # --- time, restarts, housekeeping ---

    @rule(ms=st.sampled_from([1, 500, 9_000, 61_000]))
    def wait(self, ms: int) -> None:
        self.model.now += ms
        if ms > 60_000:
            self.removals.clear()

    @rule(work=st.sampled_from(["expire", "purge", "restart", "restart copy", "count"]))
    def keep_house(self, work: str) -> None:
        match work:
            case "expire":
                self.run(self.shard.store.expire())
                assert self.shard.store.state.counters.documents == len(self.model.live())
            case "purge":
                self.run(self.shard.store.purge())
            case "restart":
                self.shard.close()
                self.shard = self.opened("shard")
                self.open_lease()
            case "restart copy":
                self.copy.close()
                self.copy = self.opened("copy")
            case "count":
                audit(self.shard.store)

    # --- the copy ---

    def follow(self) -> None:
        history = self.shard.store.state.protocol.history
        self.run(self.copy.store.follow(FeedSource(shard=0, history=history, host="shard", with_vectors=True)))
        self.open_lease()

    def open_lease(self) -> None:
        (source,) = self.copy.store.state.sources
        self.run(self.shard.store.lease(Lease("copy", source.nonce, source.cursor)))

    @rule(limit=st.integers(1, 5))
    def copy_some(self, limit: int) -> None:
        self.copy_a_page(limit)

    def copy_a_page(self, limit: int) -> bool:
        """Whether the copy has all of it."""
        (source,) = self.copy.store.state.sources
        lease = Lease("copy", source.nonce, source.cursor)
        page = self.shard.store.pull(lease, source.history, **WHOLE, with_vectors=True, limit=limit)
        self.run(self.copy.store.apply_page(0, source.nonce, page))
        return page.upto >= page.position

    @rule(forgotten=st.booleans())
    def copy_again_from_the_beginning(self, forgotten: bool) -> None:
        """forgotten: without a lease, what it has not read is purged."""
        if forgotten:
            self.run(self.shard.store.lease(Lease("copy", "", 0), release=True))
            self.run(self.shard.store.purge())
        self.run(self.copy.store.restart_source(0))
        self.open_lease()

    @rule()
    def copy_to_the_end(self) -> None:
        while not self.copy_a_page(limit=3):
            pass
        self.same_documents(self.copy)
        audit(self.copy.store)
        self.run(self.shard.store.expire())
        while not self.copy_a_page(limit=500):
            pass
        assert self.copy.store.state.counters.digest == self.shard.store.state.counters.digest

    # --- reads ---

    @invariant()
    def documents_are_those_of_the_model(self) -> None:
        self.same_documents(self.shard)

    def same_documents(self, copy: Copy) -> None:
        live = self.model.live()
        everything = sorted(self.model.held | live, key=str.encode)
        found = copy.store.reader.get(everything)
        stored = copy.store.reader.vectors_of([one.row for one in found if one is not None])
        assert {i: held(one, stored) for i, one in zip(everything, found, strict=True) if one is not None} == live

    @rule(filter_=st.none() | filter_oracle.filters, limit=st.integers(1, 4), of_copy=st.booleans())
    def scroll_and_count(self, filter_: dict[str, Any] | None, limit: int, of_copy: bool) -> None:
        copy = self.chosen(of_copy)
        wanted = None if filter_ is None else parse(filter_)
        seen: list[str] = []
        while page := copy.store.reader.scroll(seen[-1] if seen else None, limit, wanted):
            seen += [document.id for document in page]
        assert seen == sorted(self.model.live(filter_), key=str.encode)
        assert copy.store.reader.count(wanted) == len(seen)

    @rule(filter_=filter_oracle.filters)
    def have_in_mind(self, filter_: dict[str, Any]) -> None:
        """A filter that is used again: what it matched is remembered by the shard."""
        self.filters.append(filter_)

    @rule(query=vectors, k=st.integers(1, 12), number=st.none() | st.integers(0, 4), of_copy=st.booleans())
    def search(self, query: tuple[float, ...], k: int, number: int | None, of_copy: bool) -> None:
        copy = self.chosen(of_copy)
        filter_ = None if number is None else self.filters[number % len(self.filters)]
        allowed = None if filter_ is None else copy.matches.rows(filter_)
        rows, scores = copy.index.search(np.asarray([query], dtype=np.float32), k + len(self.model.held), allowed)
        expected = {
            id_: float(np.dot(query, one.vector)) for id_, one in self.model.live(filter_).items() if one.vector is not None
        }
        documents = copy.store.reader.fetch([int(row) for row in rows[0] if row >= 0])
        found = [(one.id, float(score)) for one, score in zip(documents, scores[0], strict=False) if one is not None][:k]
        assert [score for _, score in found] == sorted(expected.values(), reverse=True)[:k]
        assert all(expected.get(id_) == score for id_, score in found)
        assert len({id_ for id_, _ in found}) == len(found)

    @rule(word=st.sampled_from(["one", "two", "words"]), filter_=st.none() | filter_oracle.filters)
    def find_words(self, word: str, filter_: dict[str, Any] | None) -> None:
        rows, _ = self.shard.store.reader.keywords(word, 20, None if filter_ is None else parse(filter_))
        found = [one.id for one in self.shard.store.reader.fetch([int(row) for row in rows]) if one is not None]
        expected = [id_ for id_, one in self.model.live(filter_).items() if one.text and word in one.text.lower().split()]
        assert sorted(found) == sorted(expected)

    def chosen(self, of_copy: bool) -> Copy:
        """The copy answers for the model once it has all of it."""
        if not of_copy:
            return self.shard
        while not self.copy_a_page(limit=500):
            pass
        return self.copy


def real(wanted: Wanted) -> Change:
    metadata = None if wanted.metadata is None else metadata_text(wanted.metadata)
    vector = None if wanted.vector is None else np.asarray(wanted.vector, dtype=np.float32)
    return Change(Op(wanted.op), wanted.id, wanted.text, metadata, wanted.if_version, wanted.expires_at, vector)


def held(document: Document, stored: dict[int, bytes]) -> Held:
    vector = stored.get(document.row)
    values = None if vector is None else tuple(np.frombuffer(vector, dtype="<f4").tolist())
    return Held(document.version, document.text, orjson.loads(document.metadata), values, document.expires_at)


def test_the_shard_answers_as_its_model_does() -> None:
    chosen = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {chosen}")
    run_state_machine_as_test(
        seed(chosen)(ShardAgainstModel),
        settings=settings(
            max_examples=2_000 if LONG else 90,
            stateful_step_count=80 if LONG else 35,
            deadline=None,
            phases=[Phase.generate] if not LONG else list(Phase),
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
