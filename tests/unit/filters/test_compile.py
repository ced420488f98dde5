"""What is found, by which way, and that no key or value becomes SQL."""

import random
import sqlite3
from typing import Any

import pytest

from embedding_serving.contract.index import FieldType
from embedding_serving.filters import Declared, compile_filter, parse
from embedding_serving.filters.parse import MAX_CONDITIONS, MAX_LIST_VALUES, MAX_STRING_CHARACTERS
from fixtures.filter_oracle import Document, matches
from unit.filters.store import NOW_MS, filled, found, put, store

DECLARED: Declared = {
    "tag": (1, FieldType.KEYWORD),
    "n": (2, FieldType.INTEGER),
    "when": (3, FieldType.DATE_TIME),
    "deep.n": (4, FieldType.NUMBER),
    "flag": (5, FieldType.BOOLEAN),
    "body": (6, FieldType.TEXT),
}


def match(key: str, value: Any, how: str = "value") -> dict[str, Any]:
    return {"key": key, "match": {how: value}}


def plan(connection: sqlite3.Connection, filter_: dict[str, Any]) -> list[str]:
    query = compile_filter(parse(filter_), DECLARED, NOW_MS)
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.parameters)]


MARCH = {"gte": "2024-03-01T00:00:00Z", "lt": "2024-04-01T00:00:00Z"}


@pytest.mark.parametrize(
    "filter_",
    [
        {"must": [match("tag", "x")]},
        {"must": [match("tag", ["x", "y"], "any")]},
        {"must": [match("tag", [f"t{n}" for n in range(100)], "any")]},
        {"must": [match("tag", "x", "prefix")]},
        {"must": [match("flag", True)]},
        {"must": [{"key": "n", "range": {"gte": 3}}]},
        {"must": [{"key": "n", "range": {"lt": 3.5}}]},
        {"must": [{"key": "deep.n", "range": {"gt": 1, "lte": 2}}]},
        {"must": [{"key": "when", "range": MARCH}]},
        {"must": [match("tag", "x"), {"key": "n", "range": {"gte": 3}}], "must_not": [match("flag", True)]},
        {"must": [match("tag", "x"), match("undeclared", 1)]},
        {"must": [match("undeclared", 1), {"should": [match("tag", "x"), match("n", 2)]}]},
        {"should": [match("tag", "x"), match("n", 2), {"must": [match("flag", False), match("undeclared", 1)]}]},
        {"must": [{"has_id": ["a", "b"]}]},
        {"must": [{"has_id": [f"d{n}" for n in range(100)]}, {"key": "n", "range": {"gte": 3}}]},
    ],
)
def test_a_declared_field_is_found_by_its_index(filter_: dict[str, Any]) -> None:
    steps = plan(filled([], DECLARED), filter_)
    assert not [step for step in steps if "SCAN r" in step or "rows_deleted" in step or "KEY (rowid>" in step], steps
    assert not [step for step in steps if "(field=?)" in step], steps
    assert [step for step in steps if "field=? AND value" in step or "(id=?" in step], steps


def test_expired_documents_are_found_by_their_index() -> None:
    assert [step for step in plan(filled([], DECLARED), {}) if "rows_expiring" in step]


@pytest.mark.parametrize(
    "filter_", [{}, {"must": [match("tag", "x")]}, {"must_not": [match("tag", "y")]}, {"must": [match("q", 1)]}]
)
def test_only_live_unexpired_documents_beyond_a_row_are_found(filter_: dict[str, Any]) -> None:
    connection = store()
    for row, expires_at in ((3, None), (5, NOW_MS), (6, NOW_MS + 1), (9, None)):
        put(connection, row, Document(f"d{row}", {"tag": "x", "q": 1}), DECLARED, expires_at=expires_at)
    connection.execute("INSERT INTO rows VALUES (11, 'gone', 1, 11, 1, NULL, NULL, NULL, '{}', NULL, x'', 0)")
    assert found(connection, parse(filter_), DECLARED) == [3, 6, 9]
    assert found(connection, parse(filter_), DECLARED, above=3) == [6, 9]


@pytest.mark.parametrize("fields", [{}, DECLARED], ids=["undeclared", "declared"])
def test_a_row_that_matches_by_several_values_comes_once(fields: Declared) -> None:
    connection = filled([Document("a", {"tag": ["x", "y", "xy", "x"], "n": [1, 1.0, 2, True]})], fields)
    for filter_ in (
        {"must": [match("tag", ["x", "y"], "any")]},
        {"should": [match("tag", "x"), match("tag", "y"), match("n", 1)]},
        {"must": [match("tag", "x", "prefix")]},
        {"must": [{"key": "n", "range": {"gte": 1}}]},
    ):
        assert found(connection, parse(filter_), fields) == [1]


HOSTILE = [
    "a' OR '1'='1",
    'a" OR 1=1 --',
    '$."x"',
    "a\\",
    'a\\"',
    "a]",
    "[0]",
    "#-1",
    "*",
    "?",
    ":x",
    "a;DROP TABLE rows",
    "日本",
    "0",
    "a\tb",
    "\u2028",
    "\x7f",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["{}", "{}.b", "b.{}"])
@pytest.mark.parametrize("fields", [False, True], ids=["undeclared", "declared"])
def test_any_key_names_exactly_its_member(name: str, key: str, fields: bool) -> None:
    path = key.format(name)
    metadata: Any = ["x", name]
    for part in reversed(path.split(".")):
        metadata = {part: metadata, "other": 1}
    declared = {path: (1, FieldType.KEYWORD)} if fields else {}
    connection = filled([Document("a", metadata), Document("b", {"other": name})], declared)
    for test in ({"match": {"value": name}}, {"exists": True}, {"is_empty": False}, {"match": {"prefix": name[:1]}}):
        assert found(connection, parse({"must": [{"key": path, **test}]}), declared) == [1]
    assert found(connection, parse({"must": [match("other", name)]}), declared) == [2]
    assert found(connection, parse({"must": [{"has_id": [name]}]}), declared) == []
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (2,)


@pytest.mark.parametrize("fields", [{}, DECLARED], ids=["undeclared", "declared"])
def test_texts_longer_than_a_filter_can_say_are_told_apart(fields: Declared) -> None:
    longest = "x" * MAX_STRING_CHARACTERS
    connection = filled([Document("a", {"body": longest}), Document("b", {"body": longest + "yz"})], fields)
    assert found(connection, parse({"must": [match("body", longest)]}), fields) == [1]
    assert found(connection, parse({"must": [match("body", longest, "prefix")]}), fields) == [1, 2]
    assert found(connection, parse({"must": [match("body", [longest], "except")]}), fields) == [2]


@pytest.mark.parametrize("fields", [{}, DECLARED], ids=["undeclared", "declared"])
def test_the_largest_filters_run(fields: Declared) -> None:
    connection = filled([Document(f"d{n}", {"tag": f"t{n}", "n": n}) for n in range(50)], fields)
    values = [f"t{n}" for n in range(40)] + [n + 0.5 for n in range(MAX_LIST_VALUES - 40)]
    assert found(connection, parse({"must": [match("tag", values, "any")]}), fields) == list(range(1, 41))
    ids = [f"d{n}" for n in range(10, MAX_LIST_VALUES)]
    assert found(connection, parse({"must_not": [{"has_id": ids}]}), fields) == list(range(1, 11))
    every = [match("n", n) for n in range(MAX_CONDITIONS)]
    assert found(connection, parse({"should": every}), fields) == list(range(1, 51))
    assert found(connection, parse({"must_not": every[10:]}), fields) == list(range(1, 11))
    least = {"conditions": every[: MAX_CONDITIONS - 1], "min_count": 2}
    assert found(connection, parse({"min_should": least}), fields) == []
    deep: dict[str, Any] = {"must_not": [match("n", 3)]}
    for _ in range(7):
        deep = {"must_not": [deep, match("n", 4)]}
    assert found(connection, parse(deep), fields) != []


def test_large_conditions_are_tested_row_by_row_with_the_same_answer() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    chooser = random.Random(seed)
    documents = [
        Document(
            f"d{n}",
            {
                "tag": chooser.choice(["rare"] + ["common"] * 60 + ["other"] * 10),
                "n": chooser.choice([n % 100, float(n % 100), str(n)]),
                "when": f"2024-{chooser.randrange(1, 13):02}-01T00:00:00Z",
                "flag": [chooser.choice([True, False]), None] if n % 3 else [],
            },
        )
        for n in range(4_000)
    ]
    connection = filled(documents, DECLARED)
    others = [
        match("tag", "common"),
        match("flag", True),
        match("tag", ["common", "rare"], "any"),
        match("tag", ["other"], "except"),
        match("tag", "", "prefix"),
        {"key": "n", "range": {"gte": 10}},
        {"key": "when", "range": {"gte": "2024-03-01T00:00:00Z"}},
        {"key": "flag", "exists": True},
        {"key": "flag", "is_null": True},
        {"key": "flag", "is_empty": False},
        {"key": "flag", "is_empty": True},
    ]
    by_row = 0
    for one in others:
        for other in others:
            filter_ = {"must": [match("tag", "rare"), one], "must_not": [other]}
            meant = [row for row, document in enumerate(documents, 1) if matches(filter_, document)]
            assert found(connection, parse(filter_), DECLARED) == meant, filter_
            by_row += "v.row = c.row" in compile_filter(parse(filter_), DECLARED, NOW_MS, 0, connection).sql
    assert by_row > 0
