"""Queries -> hits, within one pinned generation: embed, ask every shard, take the best, fetch their documents, re-rank.

Where the hits of all shards are few, their documents come with the search: reading some that are not among the best costs
less than asking twice. Else, or where a shard found them too large for that, rows and scores come first and the documents
of the merged hits alone are fetched, each from the copy that named its row: row numbers are a copy's own.
"""

import asyncio
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..contract.index import Distance
from ..contract.route import GenerationRoute
from ..http.problems import ApiError
from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Encoders, InputType
from ..outgoing.failures import TextRefused
from ..wire.client import Answer
from ..wire.errors import TOO_LARGE
from .failures import ShardRefused, ShardUnavailable
from .fanout import Fanout, Frame, Question, Replies
from .hits import Stored, documents_of, shown
from .members import Include, Vectors, check_vector, normalised
from .merge import Ranked, best, fused
from .pods import Fleet, Shards
from .position import Positions, wanted
from .reranker import Reranker
from .routes import Pin, Routes
from .search_request import Search
from .together import Together

DOCUMENTS_AT_ONCE = 256
"""Documents that one shard sends with its hits, or in one fetch."""
UNASKED_BYTES = 16_384
"""What the documents of one of several shards may have to come with a search: some of them are in vain."""
SURELY = 3
"""Standard deviations: a shard has that many more than its share of the best hits about once in a thousand searches."""
UNHURRIED_SECONDS = 0.5
"""Who has that long may wait for others a few milliseconds, and be given up up to `TOGETHER_SECONDS` early with them."""
TOGETHER_SECONDS = 0.05
MOST_WIDTH = 10_000
"""Hits that a shard lists at most."""
ROUNDS = 3
"""How often a search is begun again because hits were gone when their documents were fetched."""


@dataclass(frozen=True, slots=True)
class SearchContext:
    """trace: the request's id in logs."""

    deadline: Deadline
    trace: str
    tokens: list[Positions] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hits:
    """Of one search, best first. reranked: None where it was not asked for."""

    hits: list[dict[str, Any]]
    reranked: bool | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Of all searches of a request; failed: why shards are missing from it."""

    generation: GenerationRoute
    results: list[Hits]
    failed: Mapping[int, str]


class Asked(NamedTuple):
    """A search with its query as the shards take it: float32 [d], or None without one."""

    search: Search
    vector: Vectors | None


class Hit(NamedTuple):
    stored: Stored
    score: float


class _Alone(NamedTuple):
    """A search that others of its shape may join: of one pin, and due at the same time."""

    pin: Pin
    shards: Shards
    asked: Asked
    context: SearchContext


class _Gone(Exception):
    """Rows were gone when their documents were fetched. hits: what is left. missing: of one search at most; deeper: whether
    more lie behind what was found.
    """

    def __init__(self, hits: list[list[Hit]], missing: int, failed: Mapping[int, str], *, deeper: bool) -> None:
        super().__init__()
        self.hits = hits
        self.missing = missing
        self.failed = failed
        self.deeper = deeper


class Searcher:
    """Of one index."""

    def __init__(self, routes: Routes, fleet: Fleet, fanout: Fanout, encoders: Encoders, reranker: Reranker | None) -> None:
        self.routes = routes
        self._fleet = fleet
        self._fanout = fanout
        self._encoders = encoders
        self._reranker = reranker
        self._together = Together(self._joined)

    async def find(self, searches: Sequence[Search], context: SearchContext) -> Found:
        """Raises ApiError for what the generation cannot answer, Unavailable, ShardRefused, TextRefused."""
        active = bool(context.tokens) or any(search.strong or search.vector is not None for search in searches)
        choose = self.routes.active if active else self.routes.readable

        async def attempt(pin: Pin) -> Found:
            return await self._attempt(pin, searches, context)

        return await self.routes.pinned(choose, context.deadline, attempt)

    async def _attempt(self, pin: Pin, searches: Sequence[Search], context: SearchContext) -> Found:
        asked = await self._with_vectors(pin, searches, context)
        shards = self._fleet.shards(pin.generation)
        if len(asked) == 1:
            shape = _joining(pin, asked[0].search, context)
            if shape is None:
                (hits,), failed = await self._group(pin, shards, asked, context)
            else:
                hits, failed = await self._together.ask(shape, _Alone(pin, shards, asked[0], context), shards.least_copies)
            return Found(pin.generation, [hits], failed)
        groups: dict[Any, list[int]] = {}
        for index, one in enumerate(asked):
            groups.setdefault(_shape(one.search), []).append(index)
        tasks = [
            asyncio.ensure_future(self._group(pin, shards, [asked[index] for index in indexes], context))
            for indexes in groups.values()
        ]
        results_by_index: dict[int, Hits] = {}
        failed_anywhere: dict[int, str] = {}
        try:
            for indexes, task in zip(groups.values(), tasks, strict=True):
                results, failed = await task
                results_by_index |= zip(indexes, results, strict=True)
                failed_anywhere |= failed
        finally:
            for task in tasks:
                task.cancel()
        return Found(pin.generation, [results_by_index[index] for index in range(len(asked))], failed_anywhere)

    async def _with_vectors(self, pin: Pin, searches: Sequence[Search], context: SearchContext) -> list[Asked]:
        generation = pin.generation
        given = {
            index: check_vector(search.vector, search.space, generation, search.field("vector"))
            for index, search in enumerate(searches)
            if search.vector is not None
        }
        texts = [index for index, search in enumerate(searches) if search.text is not None]
        if texts:
            given |= zip(texts, await self._embedded(generation, searches, texts, context), strict=True)
        return [Asked(search, given.get(index)) for index, search in enumerate(searches)]

    async def _embedded(
        self, generation: GenerationRoute, searches: Sequence[Search], indexes: Sequence[int], context: SearchContext
    ) -> Vectors:
        field = searches[indexes[0]].field("query")
        if generation.encoder is None:
            detail = "this index has no model: search with vector or keywords"
            raise ApiError(400, "no_model", detail, field=field)
        texts = [searches[index].text or "" for index in indexes]
        try:
            vectors = await self._encoders.embed(generation, texts, InputType.QUERY, context.deadline, context.trace)
        except TextRefused as error:
            where = searches[indexes[error.index]].field("query")
            raise ApiError(413 if "too" in error.code else 400, error.code, error.detail, field=where) from error
        if generation.distance is not Distance.COSINE:
            return vectors
        unit = normalised(vectors)
        if unit is None:
            raise ApiError(400, "zero_vector", "the model's vector of this query is all zeros", field=field)
        return unit

    async def _joined(self, alike: Sequence[_Alone]) -> list[tuple[Hits, Mapping[int, str]]]:
        """Searches of several requests, until the first of them is due."""
        pin, shards, _, context = min(alike, key=lambda one: one.context.deadline)
        results, failed = await self._group(pin, shards, [one.asked for one in alike], context)
        return [(hits, failed) for hits in results]

    async def _group(
        self, pin: Pin, shards: Shards, asked: Sequence[Asked], context: SearchContext
    ) -> tuple[list[Hits], Mapping[int, str]]:
        """Searches of one shape, in one round."""
        hits, failed = await self._hits(pin, shards, asked, context)
        results = [
            await self._finished(one.search, found, context) for one, found in zip(asked, hits, strict=True)
        ] if any(one.search.rerank for one in asked) else [
            Hits([shown(hit.stored, one.search.include, hit.score) for hit in found])
            for one, found in zip(asked, hits, strict=True)
        ]  # fmt: skip
        return results, failed

    async def _hits(
        self, pin: Pin, shards: Shards, asked: Sequence[Asked], context: SearchContext
    ) -> tuple[list[list[Hit]], Mapping[int, str]]:
        search = asked[0].search
        include = search.include
        if search.rerank and not include.text:
            include = Include(True, include.metadata, include.vector)
        documents = _likely(search.depth, len(shards)) * len(asked)
        at_once = not search.hybrid and not include.vector and documents <= DOCUMENTS_AT_ONCE
        spare = 0
        for round_ in range(ROUNDS):
            try:
                return await self._round(pin, shards, asked, include, context, at_once=at_once, spare=spare)
            except ShardRefused as error:
                if not at_once or error.code != TOO_LARGE:
                    raise
                at_once = False
            except ShardUnavailable:
                if round_ == ROUNDS - 1 or context.deadline.passed:
                    raise
            except _Gone as gone:
                if round_ == ROUNDS - 1 or (round_ > 0 and not gone.deeper) or context.deadline.passed:
                    return gone.hits, gone.failed
                spare = max(0, min(2 * (spare + gone.missing), MOST_WIDTH - search.width))
        raise ShardUnavailable([], "copies went away again and again between the search and its documents")

    async def _round(
        self,
        pin: Pin,
        shards: Shards,
        asked: Sequence[Asked],
        include: Include,
        context: SearchContext,
        *,
        at_once: bool,
        spare: int,
    ) -> tuple[list[list[Hit]], Mapping[int, str]]:
        """spare: so many hits more are looked for, in place of those that are gone: a copy lets go of them a little later."""
        search = asked[0].search
        frames = _frames(asked, include, search.width + spare, len(shards), at_once=at_once)
        positions, strong = wanted(context.tokens, pin.number, pin.epoch) if context.tokens else ({}, False)
        question = Question(frames, search.strong or strong, positions)
        replies = await self._fanout.ask(
            shards, pin, lambda shard: question, range(len(shards)), context.deadline, partial=search.partial
        )
        rankings = [_ranking(replies, one.search, index, len(asked), spare) for index, one in enumerate(asked)]
        documents = _told(replies) if at_once else {}
        untold = dict.fromkeys(
            key for ranking in rankings for one in ranking if (key := (one.source, one.row)) not in documents
        )
        if untold:
            documents |= await self._fetch(pin, shards, replies, untold, include, context)
        hits = [
            [Hit(stored, one.score) for one in ranking if (stored := documents.get((one.source, one.row))) is not None]
            for ranking in rankings
        ]
        depths = [one.search.depth for one in asked]
        missing = max(min(k, len(ranking)) - len(found) for found, ranking, k in zip(hits, rankings, depths, strict=True))
        hits = [found[:k] for found, k in zip(hits, depths, strict=True)]
        if missing > 0:
            deeper = any(len(ranking) == k + spare for ranking, k in zip(rankings, depths, strict=True))
            raise _Gone(hits, missing, replies.failed, deeper=deeper)
        return hits, replies.failed

    async def _fetch(
        self,
        pin: Pin,
        shards: Shards,
        replies: Replies,
        wanted: Iterable[tuple[int, int]],
        include: Include,
        context: SearchContext,
    ) -> dict[tuple[int, int], Stored | None]:
        """Documents by source and row; None where a row is gone."""
        rows: dict[int, list[int]] = {}
        for source, row in wanted:
            rows.setdefault(source, []).append(row)
        parts = [
            (source, some[start : start + DOCUMENTS_AT_ONCE])
            for source, some in rows.items()
            for start in range(0, len(some), DOCUMENTS_AT_ONCE)
        ]
        found: dict[tuple[int, int], Stored | None] = {}
        while parts:
            asked = [
                (
                    replies.replies[source].shard,
                    replies.replies[source].pod,
                    Frame("fetch", {"rows": part, "include": include.head()}),
                )
                for source, part in parts
            ]
            answers = await self._fanout.ask_pods(shards, pin, asked, context.deadline)
            smaller: list[tuple[int, list[int]]] = []
            for (source, part), answer in zip(parts, answers, strict=True):
                if not isinstance(answer, ShardRefused):
                    documents = documents_of(answer, include, pin.generation.dimensions)
                    found |= {(source, row): stored for row, stored in zip(part, documents, strict=True)}
                elif answer.code == TOO_LARGE and len(part) > 1:
                    half = len(part) // 2
                    smaller += [(source, part[:half]), (source, part[half:])]
                else:
                    raise answer
            parts = smaller
        return found

    async def _finished(self, search: Search, hits: list[Hit], context: SearchContext) -> Hits:
        """Re-ranked where that was asked for and works; the first order otherwise."""
        if search.rerank is None:
            return Hits([shown(hit.stored, search.include, hit.score) for hit in hits])
        order = None
        if self._reranker is not None and hits:
            texts = [str(hit.stored.raw[3] or hit.stored.id) for hit in hits]
            order = await self._reranker.order(search.rerank.query, texts, context.deadline, context.trace)
        if order is not None:
            hits = [Hit(hits[index].stored, score) for index, score in order]
        kept = [shown(hit.stored, search.include, hit.score) for hit in hits[: search.k]]
        return Hits(kept, order is not None or not hits)


def _shape(search: Search) -> Any:
    """Searches of one shape go in one frame; keywords are a frame each."""
    filter_ = None if search.filter_ is None else search.filter_.canonical_bytes()
    rerank = search.rerank is not None
    return search.width, filter_, search.include, rerank, search.partial, search.strong, search.near, search.keywords is None


def _joining(pin: Pin, search: Search, context: SearchContext) -> Hashable | None:
    """What searches have in common that may go together, None for one that goes alone: others would wait for its filter, its
    re-ranker or its keywords, or would have to be as fresh as it asks for, or as quick.
    """
    alone = search.keywords is not None or search.filter_ is not None or search.rerank is not None
    if alone or context.tokens or context.deadline.left() < UNHURRIED_SECONDS:
        return None
    due = context.deadline.at // TOGETHER_SECONDS
    return pin.seq, pin.number, pin.canary, due, _shape(search)


def _likely(k: int, shards: int) -> int:
    """Hits of one of so many shards among the k best of all, surely enough: documents are dealt to shards by a hash."""
    share = 1 / shards
    return min(k, math.ceil(k * share + SURELY * math.sqrt(k * share * (1 - share))))


def _frames(asked: Sequence[Asked], include: Include, width: int, shards: int, *, at_once: bool) -> list[Frame]:
    """One of all vectors, then one for each text of keywords."""
    search = asked[0].search
    head: dict[str, Any] = {"k": width, "documents": at_once}
    if at_once:
        head["include"] = include.head()
        if shards > 1:
            head["documents_first"] = _likely(width, shards)
            head["documents_bytes"] = UNASKED_BYTES * len(asked)
    if search.filter_ is not None:
        head["filter"] = search.filter_.canonical()
    frames = []
    if search.near:
        vectors = [one.vector for one in asked if one.vector is not None]
        queries = vectors[0] if len(vectors) == 1 else np.stack(vectors)
        tail = np.ascontiguousarray(queries, dtype="<f4").data.cast("B")
        frames.append(Frame("search", {"queries": len(vectors)} | head, tail))
    if search.keywords is not None:
        frames += [Frame("keywords", {"text": one.search.keywords} | head) for one in asked]
    return frames


def _lists(answer: Answer, queries: int, query: int, source: int) -> tuple[int, Any, Any]:
    """(source, rows int64 [k'], scores float32 [k']) of one query of an answer."""
    width = answer.head["n"]
    rows = np.frombuffer(answer.tail, dtype="<i8", count=width, offset=8 * width * query)
    scores = np.frombuffer(answer.tail, dtype="<f4", count=width, offset=8 * width * queries + 4 * width * query)
    return source, rows, scores


def _ranking(replies: Replies, search: Search, query: int, queries: int, spare: int) -> list[Ranked]:
    lists = []
    if search.near:
        lists.append([_lists(reply.answers[0], queries, query, index) for index, reply in enumerate(replies.replies)])
    if search.keywords is not None:
        frame = query + search.near
        lists.append([_lists(reply.answers[frame], 1, 0, index) for index, reply in enumerate(replies.replies)])
    if len(lists) == 1:
        return best(lists[0], search.depth + spare)
    return fused([best(one, search.width + spare) for one in lists], search.depth + spare)


def _told(replies: Replies) -> dict[tuple[int, int], Stored | None]:
    """Documents that came with the answers, by source and row; None where a row is gone."""
    documents: dict[tuple[int, int], Stored | None] = {}
    for source, reply in enumerate(replies.replies):
        for answer in reply.answers:
            told = answer.head.get("documents")
            if not told:
                continue
            rows = np.frombuffer(answer.tail, dtype="<i8", count=answer.head["n"] * len(told))
            for numbers, raws in zip(rows.reshape(len(told), -1).tolist(), told, strict=True):
                for row, raw in zip(numbers, raws, strict=False):  # fewer documents than hits
                    documents[source, row] = None if raw is None else Stored(raw)
    return documents
