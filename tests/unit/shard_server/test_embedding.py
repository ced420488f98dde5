"""Pages of texts into pages of vectors: what is asked of the encoder, and what becomes of texts that have no vector."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from embedding_serving.contract.index import Distance
from embedding_serving.shard import embedding
from embedding_serving.shard.embedding import (
    HARMLESS,
    PIECE_ROWS,
    WINDOW_PIECES,
    Embedded,
    Embedding,
    FailedOnThem,
    Known,
    NotNow,
    TextRefused,
)
from embedding_serving.shard.reading import Piece
from embedding_serving.shard.store.records import FeedRequest, FeedRow, Identity, Page, Version
from embedding_serving.shard.store.state import Source

SOURCE = Source(0, "h", "host:1", 0, 1 << 64, False, "n", 0, encoder="http://encoder")


@dataclass
class Encoder:
    """A text's vector is its length, three times; it refuses `poison` and fails on whatever `bomb` is in."""

    asked: list[list[str]] = field(default_factory=list)
    away: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def __call__(self, encoder: str, texts: Sequence[str]) -> Embedded:
        assert encoder == "http://encoder"
        self.asked.append(list(texts))
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise self.away.pop(0)
        for index, text in enumerate(texts):
            if text == "poison":
                raise TextRefused(index, "poisonous")
        if "bomb" in texts:
            raise FailedOnThem("it broke")
        return Embedded(np.asarray([[len(text)] * 3 if text != "zero" else [0] * 3 for text in texts], np.float32), len(texts))


def row(number: int, text: str | None = None, *, deleted: bool = False, failure: str | None = None) -> FeedRow:
    shown = None if deleted else f"text {number}" if text is None else text
    return FeedRow(number, f"d{number}", Version(1, number), deleted, None, shown, "{}", b"h", failure, None)


def page(rows: Sequence[FeedRow], upto: int | None = None, requests: Sequence[FeedRequest] = ()) -> Page:
    end = rows[-1].row if upto is None else upto
    return Page("h", 0, end, end, rows, requests)


def made(
    encoder: Encoder,
    known: Known | None = None,
    distance: Distance = Distance.DOT,
    donated: Mapping[str, bytes] | None = None,
) -> Embedding:
    async def look(ids: Sequence[str]) -> Known:
        return {id_: one for id_, one in (known or {}).items() if id_ in ids}

    async def ask(hosts: Sequence[str], texts: Mapping[str, str]) -> Mapping[str, bytes]:
        assert list(hosts) == ["donor:1"]
        return {id_: vector for id_, vector in (donated or {}).items() if id_ in texts}

    return Embedding(Identity(2, 0, 1, "f", 3, distance), encoder, look, ask, lambda _: [])


async def filled(one: Embedding, read: Page, source: Source = SOURCE) -> list[Page]:
    pages = []
    async for piece in one.pieces(source, read):
        pages.append(await piece.filled)
        piece.close()
    return pages


def rows_of(pages: Sequence[Page]) -> dict[str, FeedRow]:
    return {row.id: row for one in pages for row in one.rows}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(embedding, "LAST_PAUSE_SECONDS", 0.001)


async def test_a_page_is_cut_without_gap_or_overlap_and_requests_stay_behind_their_rows() -> None:
    rows = [row(number, deleted=number % 3 == 0) for number in range(1, 400)]
    requests = [FeedRequest(number, f"r{number}", 1, {}) for number in (1, 64, 200, 401)]
    pages = await filled(made(Encoder()), page(rows, 405, requests))
    assert len(pages) > 2
    assert [one.cursor for one in pages] == [0, *(one.upto for one in pages[:-1])]
    assert pages[-1].upto == 405
    assert [one for part in pages for one in part.requests] == requests
    assert [one.id for part in pages for one in part.rows] == [one.id for one in rows]
    for part in pages:
        assert all(part.cursor < number <= part.upto for number in [one.row for one in part.rows])
        assert all(part.cursor < number <= part.upto for number in [one.row for one in part.requests])


async def test_no_call_has_more_texts_than_a_piece_and_deletions_are_not_embedded() -> None:
    encoder = Encoder()
    await filled(made(encoder), page([row(number, deleted=number % 2 == 0) for number in range(1, 400)]))
    assert max(map(len, encoder.asked)) == PIECE_ROWS
    assert sum(map(len, encoder.asked)) == 200


async def test_a_page_of_nothing_moves_the_cursor_alone() -> None:
    encoder = Encoder()
    (only,) = await filled(made(encoder), page([], upto=7))
    assert (only.cursor, only.upto, list(only.rows), encoder.asked) == (0, 7, [], [])


async def test_the_text_that_was_embedded_here_before_is_not_embedded_again() -> None:
    encoder = Encoder()
    pages = await filled(
        made(encoder, {"d1": ("same", b"known"), "d2": ("old", b"known")}), page([row(1, "same"), row(2, "new")])
    )
    assert encoder.asked == [["new"]]
    assert rows_of(pages)["d1"].vector == b"known"
    assert rows_of(pages)["d2"].vector == np.asarray([3, 3, 3], np.float32).tobytes()


async def test_what_a_donor_has_is_not_embedded_again_and_counted_apart() -> None:
    encoder = Encoder()
    one = made(encoder, {"d1": ("text 1", b"known")}, donated={"d1": b"not asked for", "d2": b"given", "d4": b"not needed"})
    rows = [row(1), row(2), row(3), row(4, deleted=True)]
    found = rows_of(await filled(one, page(rows), replace(SOURCE, donors=("donor:1",))))
    assert encoder.asked == [["text 3"]]
    assert (found["d1"].vector, found["d2"].vector, found["d4"].vector) == (b"known", b"given", None)
    assert (one.state().reused, one.state().rows) == (1, 1)


async def test_what_a_donor_has_is_taken_while_nothing_is_to_be_embedded() -> None:
    encoder = Encoder()
    one = made(encoder, donated={"d1": b"given"})
    one.pace.tell(0)
    (only,) = await filled(one, page([row(1)]), replace(SOURCE, donors=("donor:1",)))
    assert rows_of([only])["d1"].vector == b"given"
    assert not encoder.asked


async def test_texts_that_have_no_vector_are_kept_with_the_reason_and_the_others_have_theirs() -> None:
    rows = [row(1), row(2, "poison"), row(3, "zero"), row(4, failure="of the old model"), row(5, "poison")]
    no_text = FeedRow(6, "d6", Version(1, 6), False, None, None, "{}", b"h", None, None)
    found = rows_of(await filled(made(Encoder(), distance=Distance.COSINE), page([*rows, no_text])))
    reasons = {id_: one.failure for id_, one in found.items() if one.failure}
    assert reasons == {"d2": "poisonous", "d5": "poisonous", "d3": embedding.ZERO, "d6": embedding.NO_TEXT}
    assert all((one.vector is None) == (one.failure is not None) for one in found.values())


async def test_vectors_are_normalised_where_the_distance_is_cosine() -> None:
    found = rows_of(await filled(made(Encoder(), distance=Distance.COSINE), page([row(1)])))
    assert found["d1"].vector is not None
    assert np.linalg.norm(np.frombuffer(found["d1"].vector, "<f4")) == pytest.approx(1)


async def test_an_encoder_that_is_away_is_asked_until_it_answers() -> None:
    encoder = Encoder(away=[NotNow("nobody there")] * 5)
    one = made(encoder)
    seen = []

    async def watch() -> None:
        while True:
            seen.append(one.state().message)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    found = rows_of(await filled(one, page([row(1)])))
    watching.cancel()
    assert found["d1"].vector is not None
    assert "nobody there" in seen
    assert one.state().message is None


async def test_a_text_that_the_encoder_fails_on_alone_is_found_and_the_others_have_their_vectors() -> None:
    rows = [row(number, "bomb" if number == 30 else None) for number in range(1, 60)]
    found = rows_of(await filled(made(Encoder()), page(rows)))
    assert {id_: one.failure for id_, one in found.items() if one.failure} == {"d30": "it broke"}


async def test_an_encoder_that_fails_on_everything_costs_no_document_its_vector() -> None:
    class Sick(Encoder):
        async def __call__(self, encoder: str, texts: Sequence[str]) -> Embedded:
            if len(self.asked) < 40:
                self.asked.append(list(texts))
                raise FailedOnThem("it broke")
            return await super().__call__(encoder, texts)

    encoder = Sick()
    found = rows_of(await filled(made(encoder), page([row(1), row(2)])))
    assert [HARMLESS] in encoder.asked
    assert all(one.failure is None for one in found.values())


async def test_no_more_than_a_window_is_on_its_way() -> None:
    encoder = Encoder(gate=asyncio.Event())
    one = made(encoder)
    pieces: list[Piece] = []

    async def cut() -> None:
        pieces.extend([piece async for piece in one.pieces(SOURCE, page([row(number) for number in range(1, 501)]))])

    cutting = asyncio.create_task(cut())
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(encoder.asked) == WINDOW_PIECES
    cutting.cancel()


async def test_what_is_not_wanted_any_more_is_not_embedded_to_the_end() -> None:
    encoder = Encoder(gate=asyncio.Event())
    pieces = aiter(made(encoder).pieces(SOURCE, page([row(1)])))
    piece = await anext(pieces)
    await asyncio.sleep(0)
    piece.close()
    with pytest.raises(asyncio.CancelledError):
        await piece.filled
