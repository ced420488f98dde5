"""One generation, asked as a gateway would ask it: the same connections, the same encoders, the same merge."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract.index import Distance, shard_of
from ..contract.reports import Outcome
from ..contract.route import GenerationRoute
from ..failure import StartFailed
from ..filters import Filter
from ..gateway.failures import ShardUnavailable
from ..gateway.fanout import Fanout, Frame, Question, Reply
from ..gateway.hits import documents_of
from ..gateway.members import Include, normalised
from ..gateway.pods import Fleet
from ..gateway.routes import Pin
from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Encoders, InputType, Priority
from ..outgoing.failures import EncoderUnavailable, EncodingFailed, Moved

Vector = NDArray[np.float32]

NOTHING = Include(text=False, metadata=False)
PAUSE_SECONDS = 0.1


class Hit(NamedTuple):
    id: str
    score: float


class Query(NamedTuple):
    """Either of the two: what a client would search with. vector: float32 [d], of the one vector space of the index."""

    text: str | None = None
    vector: Vector | None = None


class ShardSize(NamedTuple):
    """position: the highest row number of the shard."""

    documents: int
    position: int


@dataclass(frozen=True)
class Side:
    """Raises StartFailed where a shard or the encoder does not answer within `timeout_seconds`."""

    pin: Pin
    fleet: Fleet
    fanout: Fanout
    encoders: Encoders
    timeout_seconds: float
    trace: str
    priority: Priority = Priority.BULK

    @property
    def generation(self) -> GenerationRoute:
        return self.pin.generation

    async def vector_of(self, query: Query) -> Vector | None:
        """float32 [d], as shards compare it; None where the model makes zeros of it. Raises TextRefused, EncodingFailed."""
        if query.vector is not None:
            return query.vector
        deadline = Deadline.after(self.timeout_seconds)
        texts = [query.text or ""]
        try:
            made = await self.encoders.embed(self.generation, texts, InputType.QUERY, deadline, self.trace, self.priority)
        except EncodingFailed:
            raise
        except (EncoderUnavailable, Moved) as error:
            raise self._failed(error.detail) from error
        unit = normalised(made) if self.generation.distance is Distance.COSINE else made
        return None if unit is None else unit[0]

    async def near(self, vector: Vector, k: int, filter_: Filter | None = None, *, exact: bool = False) -> list[Hit]:
        """The k nearest documents, best first; with `exact` every vector is compared. Raises ShardRefused."""
        head: dict[str, Any] = {"k": k, "documents": True, "include": NOTHING.head()}
        if filter_ is not None:
            head["filter"] = filter_.canonical()
        if exact:
            head["exact"] = True
        tail = np.ascontiguousarray(vector, dtype="<f4").data.cast("B")
        replies = await self._ask(Frame("search", head, tail))
        if exact and not all(reply.answers[0].head.get("exact") for reply in replies):
            raise self._failed("its shards are of a version that cannot search exactly: wait until they are rolled out")
        hits = [hit for reply in replies for hit in _hits(reply)]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    async def known(self, ids: Iterable[str]) -> set[str]:
        """Which of the documents exist."""
        by_shard: dict[int, list[str]] = {}
        for id_ in ids:
            by_shard.setdefault(shard_of(id_, self.generation.shards), []).append(id_)
        found: set[str] = set()
        for shard, some in by_shard.items():
            found.update(await self._ids(shard, Frame("get", {"ids": some, "include": NOTHING.head()})))
        return found

    async def query_of(self, id_: str, characters: int) -> Query | None:
        """What a document would be searched with: the start of its text, or its vector where clients bring those."""
        include = Include(text=True, metadata=False, vector=self.generation.encoder is None)
        shard = shard_of(id_, self.generation.shards)
        (reply,) = await self._ask(Frame("get", {"ids": [id_], "include": include.head()}), [shard])
        (stored,) = documents_of(reply.answers[0], include, self.generation.dimensions)
        if stored is None:
            return None
        if self.generation.encoder is None:
            return Query(vector=stored.vector) if stored.vector is not None and stored.vector.any() else None
        text = str(stored.raw[3] or "")[:characters].strip()
        return Query(text=text) if text else None

    async def sizes(self) -> list[ShardSize]:
        """Of every shard, in order."""
        replies = await self._ask(Frame("count", {}))
        return [ShardSize(reply.answers[0].head["count"], reply.answers[0].head["p"]) for reply in replies]

    async def ids_of_rows(self, shard: int, rows: Sequence[int]) -> list[str]:
        """Documents that have one of these row numbers: most numbers may be those of replaced or deleted documents."""
        return await self._ids(shard, Frame("fetch", {"rows": list(rows), "include": NOTHING.head()}))

    async def first_ids(self, shard: int, number: int) -> list[str]:
        return await self._ids(shard, Frame("scroll", {"limit": number, "include": NOTHING.head()}))

    async def _ids(self, shard: int, frame: Frame) -> list[str]:
        (reply,) = await self._ask(frame, [shard])
        found = documents_of(reply.answers[0], NOTHING, self.generation.dimensions)
        return [stored.id for stored in found if stored is not None]

    async def _ask(self, frame: Frame, numbers: Sequence[int] | None = None) -> Sequence[Reply]:
        """A shard that restarts is waited for: what was measured before is not lost."""
        shards = self.fleet.shards(self.generation)
        asked = range(len(shards)) if numbers is None else numbers
        question = Question([frame])
        deadline = Deadline.after(self.timeout_seconds)
        while True:
            try:
                return (await self.fanout.ask(shards, self.pin, lambda _: question, asked, deadline)).replies
            except Moved as error:
                raise self._failed(error.detail) from error
            except ShardUnavailable as error:
                if deadline.left() <= PAUSE_SECONDS:
                    raise self._failed(error.detail) from error
                await asyncio.sleep(PAUSE_SECONDS)

    def _failed(self, detail: str) -> StartFailed:
        return StartFailed(Outcome.UNAVAILABLE, f"generation {self.pin.number}: {detail}")


def _hits(reply: Reply) -> Iterator[Hit]:
    answer = reply.answers[0]
    head: Mapping[str, Any] = answer.head
    rows = np.frombuffer(answer.tail, dtype="<i8", count=head["n"])
    scores = np.frombuffer(answer.tail, dtype="<f4", count=head["n"], offset=8 * head["n"])
    for raw, score in zip(head["documents"][0], scores[rows >= 0].tolist(), strict=True):
        if raw is not None:
            yield Hit(str(raw[1]), score)
