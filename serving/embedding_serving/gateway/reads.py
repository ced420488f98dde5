"""Documents out: by id, page by page in the order of their ids, counted, and by the values of a field."""

import heapq
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import orjson

from ..contract.index import MAX_ID_BYTES, shard_of
from ..filters import Filter
from ..http.problems import ApiError
from ..outgoing.deadline import Deadline
from .fanout import Fanout, Frame, Question, Replies
from .hits import Stored, documents_of
from .members import Include
from .pods import Fleet
from .position import Positions, wanted
from .routes import Pin, Routes

T = TypeVar("T")

MAX_PAGE = 1_000
EXPORT_PAGE = 500
FACET_DEPTH = 1_000
"""Values that each shard tells of: their sums are exact for a field that has no more in any shard."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    deadline: Deadline
    tokens: list[Positions]
    strong: bool = False


class Page(NamedTuple):
    """cursor: of the next page; None at the end. fingerprint: of vectors that are a model's."""

    documents: Sequence[Stored]
    fingerprint: str | None
    cursor: str | None


class Reads:
    def __init__(self, routes: Routes, fleet: Fleet, fanout: Fanout) -> None:
        self._routes = routes
        self._fleet = fleet
        self._fanout = fanout

    async def get(self, id_: str, include: Include, request: ReadRequest) -> Stored | None:
        async def attempt(pin: Pin) -> Stored | None:
            shard = shard_of(id_, pin.generation.shards)
            frame = Frame("get", {"ids": [id_], "include": include.head()})
            replies = await self._ask(pin, frame, request, [shard])
            return documents_of(replies.replies[0].answers[0], include, pin.generation.dimensions)[0]

        return await self._pinned(request, attempt)

    async def scroll(
        self, filter_: Filter | None, cursor: str | None, limit: int, include: Include, request: ReadRequest
    ) -> Page:
        """Raises ApiError for a cursor that is none, or of another filter."""
        return await self._page(filter_, parse_cursor(cursor, filter_), limit, include, request)

    async def export(
        self, filter_: Filter | None, cursor: str | None, include: Include, deadline: Callable[[], Deadline]
    ) -> AsyncGenerator[Page]:
        """Every page; a deadline each."""
        while True:
            request = ReadRequest(deadline(), [])
            page = await self._page(filter_, parse_cursor(cursor, filter_), EXPORT_PAGE, include, request)
            yield page
            cursor = page.cursor
            if cursor is None:
                return

    async def count(self, filter_: Filter | None, request: ReadRequest) -> int:
        async def attempt(pin: Pin) -> int:
            replies = await self._ask(pin, Frame("count", _filtered(filter_)), request)
            return sum(reply.answers[0].head["count"] for reply in replies.replies)

        return await self._pinned(request, attempt)

    async def facet(self, field: str, filter_: Filter | None, limit: int, request: ReadRequest) -> list[tuple[Any, int]]:
        """Values of a field and how many documents have them, the most frequent first."""

        async def attempt(pin: Pin) -> list[tuple[Any, int]]:
            depth = limit if pin.generation.shards == 1 else max(limit, FACET_DEPTH)
            replies = await self._ask(pin, Frame("facet", _filtered(filter_) | {"field": field, "limit": depth}), request)
            counts: dict[bytes, int] = {}
            for reply in replies.replies:
                for value, count in reply.answers[0].head["values"]:
                    key = orjson.dumps(value)
                    counts[key] = counts.get(key, 0) + count
            ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:limit]
            return [(orjson.loads(key), count) for key, count in ordered]

        return await self._pinned(request, attempt)

    async def _page(
        self, filter_: Filter | None, after: str | None, limit: int, include: Include, request: ReadRequest
    ) -> Page:
        async def attempt(pin: Pin) -> Page:
            head = _filtered(filter_) | {"after": after, "limit": limit, "include": include.head()}
            replies = await self._ask(pin, Frame("scroll", head), request)
            pages = [
                (
                    [one for one in documents_of(reply.answers[0], include, pin.generation.dimensions) if one is not None],
                    bool(reply.answers[0].head.get("more")),
                )
                for reply in replies.replies
            ]
            documents, more = merged(pages, limit)
            cursor = to_cursor(documents[-1].id, filter_) if more and documents else None
            fingerprint = pin.generation.fingerprint if pin.generation.encoder is not None else None
            return Page(documents, fingerprint, cursor)

        return await self._pinned(request, attempt)

    async def _pinned(self, request: ReadRequest, attempt: Callable[[Pin], Awaitable[T]]) -> T:
        # a generation that is being built lags behind what was acknowledged
        choose = self._routes.active if request.strong or request.tokens else self._routes.readable
        return await self._routes.pinned(choose, request.deadline, attempt)

    async def _ask(self, pin: Pin, frame: Frame, request: ReadRequest, numbers: Iterable[int] | None = None) -> Replies:
        shards = self._fleet.shards(pin.generation)
        positions, strong = wanted(request.tokens, pin.number, pin.epoch)
        question = Question([frame], request.strong or strong, positions)
        asked = range(len(shards)) if numbers is None else numbers
        return await self._fanout.ask(shards, pin, lambda shard: question, asked, request.deadline)


def merged(pages: Sequence[tuple[Sequence[Stored], bool]], limit: int) -> tuple[list[Stored], bool]:
    """One page in the order of ids (bytewise) from a page of each shard, and whether there is more.

    A shard's page may be cut short: beyond its last id nothing is known of it, so nothing beyond it is answered.
    """
    known = [page[-1].id.encode() for page, more in pages if more and page]
    horizon = min(known, default=None)
    ordered = heapq.merge(*(page for page, _ in pages), key=lambda one: one.id.encode())
    documents: list[Stored] = []
    for one in ordered:
        if len(documents) == limit or (horizon is not None and one.id.encode() > horizon):
            return documents, True
        documents.append(one)
    return documents, any(more for _, more in pages)


def to_cursor(after: str, filter_: Filter | None) -> str:
    raw = orjson.dumps([after, _mark(filter_)])
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_cursor(cursor: str | None, filter_: Filter | None) -> str | None:
    """The id after which the page begins. Raises ApiError."""
    if cursor is None:
        return None
    try:
        after, mark = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        raise _wrong_cursor("cursor takes what an earlier page answered as `cursor`") from None
    if not isinstance(after, str) or len(after.encode()) > MAX_ID_BYTES:
        raise _wrong_cursor("cursor takes what an earlier page answered as `cursor`")
    if mark != _mark(filter_):
        raise _wrong_cursor("cursor belongs to another filter: send the filter that it was made with")
    return after


def _wrong_cursor(detail: str) -> ApiError:
    return ApiError(400, "invalid_cursor", detail, field="cursor")


def _mark(filter_: Filter | None) -> str:
    return "" if filter_ is None else blake2b(filter_.canonical_bytes(), digest_size=8).hexdigest()


def _filtered(filter_: Filter | None) -> dict[str, Any]:
    return {} if filter_ is None else {"filter": filter_.canonical()}
