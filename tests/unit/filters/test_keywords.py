"""A person's words find texts, and are never FTS5 syntax."""

import random
import sqlite3
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from embedding_serving.filters import FilterError, compile_filter, parse
from embedding_serving.filters.keywords import DDL, DELETE, INSERT, MAX_CHARACTERS, MAX_WORDS, keyword_rows, match_expression
from fixtures.filter_oracle import Document
from unit.filters.store import NOW_MS, put, store

SEED = random.SystemRandom().randrange(2**32)

TEXTS = [
    "The quick brown fox jumps over the lazy dog",
    "Brown is the fox, and quick",
    "Café au lait for the naïve",
    "A state-of-the-art wi-fi router, foo_bar 42",
    "हिन्दी भाषा",
    "Ein Fuchs, ein Fuchs, ein Fuchs: fox",
]


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = store()
    connection.executescript(DDL)
    for row, text in enumerate(TEXTS, 1):
        put(connection, row, Document(f"d{row}", {"n": row}), {}, text=text)
        connection.execute(INSERT, (row, text))
    return connection


def rows(connection: sqlite3.Connection, text: str, k: int = 10) -> list[int]:
    return [int(row) for row in keyword_rows(connection, text, k, NOW_MS)[0]]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fox", {1, 2, 6}),
        ("lazy naive", {1, 3}),
        ("CAFÉ", {3}),
        ("cafe\u0301", {3}),
        ('"brown fox"', {1}),
        ('"Brown, fox!" lait', {1, 3}),
        ('fox "lazy', {1, 2, 6}),
        ("lait,router", {3, 4}),
        ("foo", {4}),
        ("42", {4}),
        ("हिन्दी", {5}),
        ("absent", set()),
    ],
)
def test_words_find_texts_that_have_any_and_quoted_ones_those_that_have_all_in_order(
    connection: sqlite3.Connection, text: str, meant: set[int]
) -> None:
    assert set(rows(connection, text)) == meant


def test_better_matches_come_first_with_larger_scores(connection: sqlite3.Connection) -> None:
    found, scores = keyword_rows(connection, "fuchs fox", 2, NOW_MS)
    assert (found.dtype.name, scores.dtype.name) == ("int64", "float32")
    assert found[0] == 6
    assert len(found) == 2
    assert scores[0] > scores[1] > 0


@pytest.mark.parametrize(
    "text", ["fox AND absent", "fox NOT brown", "text:fox", "fox*", "NEAR(fox absent)", "{text}: fox", "^fox -brown"]
)
def test_the_syntax_of_fts5_is_only_words(connection: sqlite3.Connection, text: str) -> None:
    assert {1, 2, 6} <= set(rows(connection, text))


@pytest.mark.parametrize("text", ["", "  ", "...", '"', '""', "\u0301", "_", "\0", "\ud800"])
def test_a_text_without_a_word_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match="letter or digit") as caught:
        match_expression(text, "searches[1].keywords")
    assert caught.value.field == "searches[1].keywords"


def test_too_many_words_are_refused_and_repeated_ones_are_one() -> None:
    match_expression(" ".join(["Fox fox"] * 500))
    match_expression(" ".join(f"w{n}" for n in range(MAX_WORDS)))
    with pytest.raises(FilterError, match=str(MAX_WORDS)):
        match_expression(" ".join(f"w{n}" for n in range(MAX_WORDS + 1)))
    with pytest.raises(FilterError, match=str(MAX_CHARACTERS)):
        match_expression("w" * (MAX_CHARACTERS + 1))


def test_a_text_that_was_taken_out_is_not_found(connection: sqlite3.Connection) -> None:
    connection.execute(DELETE, (1, TEXTS[0]))
    connection.execute("DELETE FROM rows WHERE row = 1")
    assert set(rows(connection, "fox lazy")) == {2, 6}
    connection.execute("INSERT INTO texts (texts, rank) VALUES ('integrity-check', 1)")


def test_expired_documents_are_not_found(connection: sqlite3.Connection) -> None:
    put(connection, 20, Document("d20", {}), {}, expires_at=NOW_MS, text="fox")
    connection.execute(INSERT, (20, "fox"))
    assert 20 not in rows(connection, "fox")
    assert 20 in keyword_rows(connection, "fox", 10, NOW_MS - 1)[0]


def test_a_filter_chooses_among_the_rows(connection: sqlite3.Connection) -> None:
    allowed = compile_filter(parse({"must": [{"key": "n", "range": {"gte": 2}}]}), {}, NOW_MS)
    assert set(keyword_rows(connection, "fox", 10, NOW_MS, allowed)[0].tolist()) == {2, 6}


@seeded(SEED)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.sampled_from("ab\"'*^():-+{}.,\\/~ ANDORNTE\0é\u0301हि्日"), max_size=30) | st.text(max_size=30))
def test_any_text_is_an_expression_or_a_clear_error(connection: sqlite3.Connection, text: str) -> None:
    note(f"seed: {SEED}")
    with suppress(FilterError):
        rows(connection, text)
