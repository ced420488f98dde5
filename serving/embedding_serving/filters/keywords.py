"""Keyword search over the texts of live documents: SQLite's FTS5, ranked by BM25.

The table `texts` keeps the inverted lists alone; the texts themselves stay in `rows`. So a text is taken out by saying again
what it was. Words are what the tokenizer unicode61 makes of a text: letters and digits, case and diacritics set aside. It does
not cut scripts that write without spaces: there a word is what stands between two punctuation marks.

The other tokenizers of FTS5 are no better for texts of unknown languages. `porter` knows English alone and makes one word of
university and universe; `trigram` finds nothing shorter than three characters, which most words of Chinese and Japanese are,
and finds the others in the middle of words.
"""

import sqlite3
import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .compile import EXPIRED, Query
from .errors import FilterError

DDL = """
CREATE VIRTUAL TABLE texts USING fts5 (
  text, content = 'rows', content_rowid = 'row', tokenize = 'unicode61 remove_diacritics 2'
);
"""
INSERT = "INSERT INTO texts (rowid, text) VALUES (?, ?)"
"""(row, text)"""
DELETE = "INSERT INTO texts (texts, rowid, text) VALUES ('delete', ?, ?)"
"""(row, text): the text must be exactly what was inserted."""

MAX_WORDS = 128
MAX_CHARACTERS = 8_192


def keyword_rows(
    connection: sqlite3.Connection, text: str, k: int, now_ms: int, allowed: Query | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best rows for what a person typed: row numbers int64 [n] and BM25 scores float32 [n], best first, n <= k.

    allowed: the rows to choose from; without it all that are not expired at `now_ms`. Raises FilterError, sqlite3.Error.
    """
    expression = match_expression(text)
    # The plus keeps FTS5 from looking the rows up one by one: it walks the words' lists, and each row is tested.
    test = f"+rowid NOT IN ({EXPIRED})" if allowed is None else f"+rowid IN ({allowed.sql})"
    parameters = (now_ms,) if allowed is None else allowed.parameters
    found = connection.execute(
        f"SELECT rowid, -rank FROM texts WHERE texts MATCH ? AND {test} ORDER BY rank LIMIT ?", (expression, *parameters, k)
    ).fetchall()
    rows = np.fromiter((row for row, _ in found), np.int64, len(found))
    return rows, np.fromiter((score for _, score in found), np.float32, len(found))


def match_expression(text: str, at: str = "keywords") -> str:
    """FTS5 expression for a person's words: any of them, "quoted ones" as a phrase. Nothing in it is FTS5 syntax of theirs.

    Raises FilterError at `at`.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(at, f"is longer than {MAX_CHARACTERS} characters: give the words that matter")
    phrases = {" ".join(words).casefold(): " ".join(words) for words in _phrases(text) if _has_letter(words)}
    if not phrases:
        raise FilterError(at, "has no word to search for: give at least one letter or digit")
    if sum(phrase.count(" ") + 1 for phrase in phrases) > MAX_WORDS:
        raise FilterError(at, f"has more than {MAX_WORDS} different words: give those that matter")
    return " OR ".join(f'"{phrase}"' for phrase in phrases.values())


def _phrases(text: str) -> Iterator[list[str]]:
    *parts, last = text.split('"')
    for number, part in enumerate((*parts, last)):
        # What follows the last quotation mark is in quotes only if the mark has its partner.
        is_quoted = number % 2 == 1 and number < len(parts)
        words = _words(part)
        if is_quoted and words:
            yield words
        elif not is_quoted:
            yield from ([word] for word in words)


def _words(text: str) -> list[str]:
    return "".join(character if _is_of_word(character) else " " for character in text).split()


def _is_of_word(character: str) -> bool:
    """Letters, digits and private characters as the tokenizer has them; and marks, which it takes off or cuts at itself."""
    category = unicodedata.category(character)
    return category[0] in "LNM" or category == "Co"


def _has_letter(words: list[str]) -> bool:
    return any(unicodedata.category(character)[0] != "M" for word in words for character in word)
