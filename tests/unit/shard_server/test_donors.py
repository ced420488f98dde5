"""Vectors of a generation that was given up: taken where the text is the same, and nothing is waited for."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.admin import Mode, Refusal, Retire, Unfence
from embedding_serving.contract.index import IndexName, shard_of
from embedding_serving.contract.route import GenerationRoute, Phase, Route
from embedding_serving.shard import donors as module
from embedding_serving.shard.donors import LEFT_ALONE_SECONDS, Donors
from embedding_serving.shard.feed import decode_embedded, text_digest
from embedding_serving.shard.feed_server import FeedServer
from embedding_serving.shard.reading import Hello, Unreachable
from embedding_serving.shard.store.records import Change, Identity, Op, Refused, WriteBatch
from embedding_serving.shard.store.store import Store
from embedding_serving.shard.watermark import Watermark
from embedding_serving.wire.calls import Call
from embedding_serving.wire.errors import WireError

OURS = IndexName("t", "docs")
IDENTITY = Identity(3, 0, 3, "f2", 4)
HOSTS = ("docs-g2-s0:1", "docs-g2-s1:1")


@dataclass
class Giver:
    """A shard of generation 2, of two: it has embedded `texts`."""

    number: int
    texts: dict[str, str]
    hello: Hello
    asked: list[list[str]] = field(default_factory=list)
    failure: Exception | None = None
    hangs: bool = False

    async def embedded(self, fingerprint: str, ids: Sequence[str], timeout: float) -> Mapping[str, tuple[str, bytes]]:
        assert fingerprint == "f2"
        self.asked.append(list(ids))
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure
        return {id_: (text_digest(text), b"of %s" % text.encode()) for id_, text in self.texts.items()}


@dataclass
class World:
    givers: dict[str, Giver]
    seconds: float = 100.0

    @asynccontextmanager
    async def connect(self, host: str) -> AsyncIterator[Giver]:
        yield self.givers[host]

    def donors(self) -> Donors:
        return Donors(IDENTITY, OURS, self.connect, lambda: self.seconds)


def world(texts: Mapping[str, str]) -> World:
    givers = {}
    for number, host in enumerate(HOSTS):
        hello = Hello(OURS, 2, number, "f2", "h", Mode.CLOSED, 9, shards=2)
        own = {id_: text for id_, text in texts.items() if shard_of(id_, 2) == number}
        givers[host] = Giver(number, own, hello)
    return World(givers)


TEXTS = {f"d{number}": f"text {number}" for number in range(20)}


async def test_each_shard_of_the_donor_is_asked_for_its_own_and_what_it_has_is_taken() -> None:
    there = world(TEXTS)
    found = await there.donors()(HOSTS, TEXTS | {"new": "never seen"})
    assert found == {id_: b"of %s" % text.encode() for id_, text in TEXTS.items()}
    for number, giver in enumerate(there.givers.values()):
        ((*ids,),) = giver.asked
        assert ids
        assert {shard_of(id_, 2) for id_ in ids} == {number}


async def test_the_vector_of_another_text_is_not_taken() -> None:
    found = await world(TEXTS).donors()(HOSTS, {"d1": "changed since", "d2": TEXTS["d2"]})
    assert list(found) == ["d2"]


async def test_what_nobody_asked_for_is_not_taken() -> None:
    assert list(await world(TEXTS).donors()(HOSTS, {"d2": TEXTS["d2"]})) == ["d2"]


@pytest.mark.parametrize("failure", [Unreachable("gone"), Refused(Refusal.CORRUPT, "damaged")], ids=["away", "refuses"])
async def test_one_that_fails_is_left_alone_for_a_while_and_the_others_are_asked_on(failure: Exception) -> None:
    there = world(TEXTS)
    first, second = there.givers.values()
    first.failure = failure
    donors = there.donors()
    for _ in range(3):
        assert set(await donors(HOSTS, TEXTS)) == set(second.texts)
    assert (len(first.asked), len(second.asked)) == (1, 3)
    there.seconds += LEFT_ALONE_SECONDS
    first.failure = None
    assert set(await donors(HOSTS, TEXTS)) == set(TEXTS)


async def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    there = world(TEXTS)
    first, second = there.givers.values()
    first.hangs = True
    assert set(await there.donors()(HOSTS, TEXTS)) == set(second.texts)


@pytest.mark.parametrize(
    "other",
    [{"index": IndexName("t", "logs")}, {"fingerprint": "f3"}, {"shard": 1}, {"shards": 3}],
    ids=["index", "vector space", "shard", "number of shards"],
)
async def test_an_address_that_is_somebody_elses_now_gives_nothing(other: dict[str, object]) -> None:
    there = world(TEXTS)
    first, second = there.givers.values()
    first.hello = replace(first.hello, **other)  # type: ignore[arg-type]
    assert set(await there.donors()(HOSTS, TEXTS)) == set(second.texts)
    assert not first.asked


# --- at the donor ---


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path, Identity(2, 0, 1, "f2", 4), now_ms=lambda: 0)
    opened.start()
    yield opened
    opened.close()


async def asked(store: Store, ids: list[str], fingerprint: str = "f2") -> dict[str, tuple[str, bytes]]:
    mark = Watermark(lambda: store.state.position)
    with ThreadPoolExecutor(1) as executor:
        server = FeedServer(store, mark, mark, executor)
        head = {"op": "embedded", "f": fingerprint, "ids": ids}
        reply = await server.embedded(Call("embedded", head, memoryview(b""), "docs-g3-s0-0", None))
    assert isinstance(reply.head, dict)
    return decode_embedded(reply.head, memoryview(b"".join(bytes(part) for part in reply.tail)), 16)


async def test_it_answers_for_what_is_embedded_whether_it_is_closed_or_retired(store: Store) -> None:
    history = store.state.protocol.history
    await store.command(Unfence(epoch=1, history=history))
    vector = np.asarray([0, 1, 0, 0], np.float32)
    changes = [Change(Op.PUT, "d1", "one", vector=vector), Change(Op.PUT, "d2", "two", failure="refused by the model")]
    await store.write(WriteBatch(2, "f2", "r1", 0, changes))
    route = Route(
        index="docs", namespace="t", seq=2, epoch=2, phase=Phase.COMMITTED, writer=3, weights={3: 100}, next_generation=4,
        generations=(GenerationRoute(generation=3, hosts=("a",), fingerprint="f2", dimensions=4),),
    )  # fmt: skip
    wanted = {"d1": (text_digest("one"), vector.tobytes())}
    assert await asked(store, ["d1", "d2", "d3"]) == wanted
    await store.command(Retire(epoch=2, history=history, route=route))
    assert await asked(store, ["d1"]) == wanted


async def test_a_store_that_was_never_opened_answers_too(store: Store) -> None:
    assert store.state.protocol.mode is Mode.CLOSED
    assert await asked(store, ["d1"]) == {}


async def test_it_has_no_vectors_of_another_space_and_takes_no_endless_lists(store: Store) -> None:
    with pytest.raises(Refused) as refused:
        await asked(store, ["d1"], "f3")
    assert refused.value.code is Refusal.WRONG_FINGERPRINT
    with pytest.raises(WireError, match="1000"):
        await asked(store, [f"d{number}" for number in range(1_001)])


def test_an_answer_that_was_cut_is_none() -> None:
    with pytest.raises(ValueError, match="bytes of vectors"):
        decode_embedded({"body_bytes": 15}, memoryview(b'[["d1","abcd"]]' + b"x" * 15), 16)
