"""Vectors for rows that come from another vector space: pages are cut into pieces that one call of the encoder takes.

At most WINDOW_PIECES of them are on their way over all sources of the shard, from the encoder into the store: enough to
keep the encoder busy while others are committed, and all that is embedded a second time after a crash.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..contract.admin import BuildState, FailedDocument
from ..contract.index import Distance
from .pace import Pace
from .reading import Piece
from .store.records import FeedRow, Identity, Page, Vectors
from .store.state import Source

log = logging.getLogger(__name__)

PIECE_ROWS = 64
WINDOW_PIECES = 4
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 10.0
FAILURES_OF_ONE = 3
"""So often an encoder fails on the same texts before they are suspected."""
HARMLESS = "text"
RATE_SECONDS = 30.0
NAMED_FAILURES = 20
MAX_REASON = 500
NO_TEXT = "it has no text to embed"
ZERO = "the model's vector of its text is all zeros: it has no direction to compare by cosine"
NO_ENCODER = "told to follow another vector space without an encoder for its own"
PAUSED = "told to pause"

Outcome = Vectors | str
"""A vector, float32 [dimensions], or why there is none."""
Known = Mapping[str, tuple[str, bytes]]
"""Text and vector by id of documents that are here."""
Donated = Callable[[Sequence[str], Mapping[str, str]], Awaitable[Mapping[str, bytes]]]
"""From the addresses of a donor's shards and texts by id: the vectors, float32 as bytes, of those that it has embedded."""


class NotNow(Exception):
    """The encoder is away, or is not the one for this shard; it is asked again."""


class FailedOnThem(NotNow):
    """The encoder failed on these texts: one of them may be at fault, or it is sick."""


class TextRefused(Exception):
    """It does not take the text of this index."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Embedded:
    """vectors: float32 [texts, dimensions]. tokens: as far as the encoder says."""

    vectors: Vectors
    tokens: int = 0


class Encode(Protocol):
    """Raises NotNow, FailedOnThem, TextRefused."""

    async def __call__(self, encoder: str, texts: Sequence[str]) -> Embedded: ...


@dataclass(slots=True)
class Progress:
    """What has been embedded since the process started."""

    clock: Callable[[], float] = time.monotonic
    rows: int = 0
    reused: int = 0
    tokens: int = 0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, rows: int, tokens: int) -> None:
        self.rows += rows
        self.tokens += tokens
        self._recent.append((self.clock(), rows))
        self._forget()

    @property
    def rows_per_second(self) -> float:
        self._forget()
        return sum(rows for _, rows in self._recent) / RATE_SECONDS

    def _forget(self) -> None:
        oldest = self.clock() - RATE_SECONDS
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()


class Embedding:
    """known: of documents that are here already. donated: of those that a donor has. failures: of documents here without a
    vector.
    """

    def __init__(
        self,
        identity: Identity,
        encode: Encode,
        known: Callable[[Sequence[str]], Awaitable[Known]],
        donated: Donated,
        failures: Callable[[int], Sequence[tuple[str, str]]],
    ) -> None:
        self.pace = Pace()
        self._cosine = identity.distance is Distance.COSINE
        self._encode = encode
        self._known = known
        self._donated = donated
        self._failures = failures
        self._window = asyncio.Semaphore(WINDOW_PIECES)
        self._progress = Progress()
        self._troubles: dict[object, str] = {}

    def state(self) -> BuildState:
        """Blocking: it reads which documents failed."""
        paused = PAUSED if self.pace.rows_per_second == 0 else None
        return BuildState(
            rows=self._progress.rows,
            reused=self._progress.reused,
            tokens=self._progress.tokens,
            rows_per_second=self._progress.rows_per_second,
            pace=self.pace.rows_per_second,
            failed=tuple(FailedDocument(id=id_, reason=reason) for id_, reason in self._failures(NAMED_FAILURES)),
            message=next(iter([*self._troubles.values()]), paused),
        )

    @property
    def has_begun(self) -> bool:
        return self._progress.rows + self._progress.reused > 0

    async def pieces(self, source: Source, page: Page) -> AsyncIterator[Piece]:
        """The page, cut where a piece has as many rows to embed as pace and encoder take at once."""
        known = await self._known([row.id for row in page.rows if not row.deleted])
        rows = await self._reused(source.donors, [_settled(row, known) for row in page.rows])
        at, cursor = 0, page.cursor
        while True:
            todo = sum(_is_open(row) for row in rows[at:])
            if not todo:
                yield Piece(_ready(_stretch(page, cursor, page.upto, rows[at:])), lambda: None)
                return
            await self._window.acquire()
            try:
                granted = await self.pace.take(min(PIECE_ROWS, todo))
            except BaseException:
                self._window.release()
                raise
            stop = _after(rows, at, granted)
            upto = page.upto if stop == len(rows) else rows[stop - 1].row
            filling = asyncio.ensure_future(self._filled(source, _stretch(page, cursor, upto, rows[at:stop])))
            yield Piece(filling, self._closing(filling))
            if upto == page.upto:
                return
            at, cursor = stop, upto

    async def _reused(self, donors: Sequence[str], rows: list[FeedRow]) -> list[FeedRow]:
        """The rows, with the vectors of those that a donor has embedded already."""
        texts = {row.id: row.text or "" for row in rows if _is_open(row)}
        if not (donors and texts):
            return rows
        vectors = await self._donated(donors, texts)
        self._progress.reused += len(vectors)
        return [replace(row, vector=vectors[row.id]) if row.id in vectors else row for row in rows]

    def _closing(self, filling: asyncio.Future[Page]) -> Callable[[], None]:
        def close() -> None:
            filling.cancel()
            self._window.release()

        return close

    async def _filled(self, source: Source, page: Page) -> Page:
        rows = list(page.rows)
        waiting = [index for index, row in enumerate(rows) if _is_open(row)]
        outcomes = await self._outcomes(source.encoder, [rows[index].text or "" for index in waiting])
        for index, outcome in zip(waiting, outcomes, strict=True):
            rows[index] = self._with_outcome(rows[index], outcome)
        self._progress.add(len(waiting), 0)
        return replace(page, rows=rows)

    async def _outcomes(self, encoder: str | None, texts: Sequence[str]) -> list[Outcome]:
        """A vector for each text, or why there is none. Waits for as long as the encoder does not say.

        A text is at fault only where the encoder names it, or fails on it again right after it has embedded another.
        """
        pauses, failures, suspected = _pauses(), 0, False
        with self._trouble() as told:
            while True:
                try:
                    return list((await self._asked(encoder, texts)).vectors)
                except TextRefused as refused:
                    others = [*texts[: refused.index], *texts[refused.index + 1 :]]
                    outcomes = await self._outcomes(encoder, others) if others else []
                    return [*outcomes[: refused.index], refused.reason, *outcomes[refused.index :]]
                except NotNow as error:
                    told(str(error))
                    if suspected and isinstance(error, FailedOnThem):
                        return [str(error)]
                    failures += isinstance(error, FailedOnThem)
                if failures >= FAILURES_OF_ONE and len(texts) > 1:
                    half = len(texts) // 2
                    return [*await self._outcomes(encoder, texts[:half]), *await self._outcomes(encoder, texts[half:])]
                suspected = failures >= FAILURES_OF_ONE and await self._works(encoder)
                if not suspected:
                    await asyncio.sleep(next(pauses))

    async def _asked(self, encoder: str | None, texts: Sequence[str]) -> Embedded:
        if encoder is None:
            raise NotNow(NO_ENCODER)
        embedded = await self._encode(encoder, texts)
        self._progress.tokens += embedded.tokens
        return embedded

    async def _works(self, encoder: str | None) -> bool:
        try:
            return bool(len((await self._asked(encoder, [HARMLESS])).vectors))
        except (NotNow, TextRefused):
            return False

    @contextmanager
    def _trouble(self) -> Iterator[Callable[[str], None]]:
        """What is told within is shown until the end."""
        key = object()

        def tell(reason: str) -> None:
            if reason not in self._troubles.values():
                log.warning("rows wait to be embedded: %s", reason)
            self._troubles[key] = reason

        try:
            yield tell
        finally:
            self._troubles.pop(key, None)

    def _with_outcome(self, row: FeedRow, outcome: Outcome) -> FeedRow:
        if isinstance(outcome, str):
            return _failed(row, outcome)
        return self._with_vector(row, outcome)

    def _with_vector(self, row: FeedRow, vector: Vectors) -> FeedRow:
        if not self._cosine:
            return replace(row, vector=np.ascontiguousarray(vector, "<f4").tobytes(), failure=None)
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not length:
            return _failed(row, ZERO)
        return replace(row, vector=(vector / length).astype("<f4").tobytes(), failure=None)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(LAST_PAUSE_SECONDS, 2 * pause)


def _settled(row: FeedRow, known: Known) -> FeedRow:
    """A row whose text was embedded here before takes that vector."""
    if row.deleted:
        return row
    if row.text is None:
        return _failed(row, NO_TEXT)
    text, vector = known.get(row.id, (None, None))
    return replace(row, vector=vector if text == row.text else None, failure=None)


def _is_open(row: FeedRow) -> bool:
    return not row.deleted and row.vector is None and row.failure is None


def _failed(row: FeedRow, reason: str) -> FeedRow:
    return replace(row, vector=None, failure=reason[:MAX_REASON])


def _after(rows: Sequence[FeedRow], at: int, granted: int) -> int:
    """Where the rows end that hold `granted` open ones, with those behind them that are settled."""
    for index in range(at, len(rows)):
        if _is_open(rows[index]):
            if not granted:
                return index
            granted -= 1
    return len(rows)


def _stretch(page: Page, cursor: int, upto: int, rows: Sequence[FeedRow]) -> Page:
    requests = [one for one in page.requests if cursor < one.row <= upto]
    return Page(page.history, cursor, upto, page.position, rows, requests)


def _ready(page: Page) -> asyncio.Future[Page]:
    ready: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
    ready.set_result(page)
    return ready
