"""What is wrong with a filter is named by its path; what is right has one form."""

import math
import random
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from embedding_serving.filters import Filter, FilterError, parse
from embedding_serving.filters.parse import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_KEY_CHARACTERS,
    MAX_LIST_VALUES,
    MAX_STRING_CHARACTERS,
)
from fixtures import filter_oracle as oracle

SEED = random.SystemRandom().randrange(2**32)


def match(value: Any, how: str = "value", key: Any = "a") -> dict[str, Any]:
    return {"key": key, "match": {how: value}}


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"must_not": [match(1)]}
    for _ in range(depth - 1):
        inner = {"must_not": [inner, match(2)]}
    return inner


A = match(1)
B = match("x", key="b")
C = {"has_id": ["1"]}

WRONG: list[tuple[Any, str, str]] = [
    (None, "filter", "not null"),
    ([A], "filter", "must, should, must_not or min_should"),
    (A, "filter", "put it in"),
    (C, "filter", "put it in"),
    ({"musst": []}, "filter.musst", "must, should, must_not or min_should"),
    ({"must": A}, "filter.must", "a list of conditions, not an object"),
    ({"must": [A, 1]}, "filter.must[1]", "not a number"),
    ({"must": [{"key": "a", "macth": {}}]}, "filter.must[0].macth", "key, match, range, exists, is_null or is_empty"),
    ({"must": [{"match": {"value": 1}}]}, "filter.must[0].key", "is missing"),
    ({"must": [{"key": "a"}]}, "filter.must[0]", "exactly one of match, range"),
    ({"must": [{**A, "exists": True}]}, "filter.must[0]", "has match and exists"),
    ({"must": [{**A, "should": [A]}]}, "filter.must[0].key", "is unknown"),
    ({"must": [{**C, "key": "a"}]}, "filter.must[0].key", "is unknown"),
    ({"should": []}, "filter.should", "name a condition"),
    ({"must": [{"should": []}]}, "filter.must[0].should", "name a condition"),
    ({"min_should": {"conditions": [A]}}, "filter.min_should.min_count", "is missing"),
    ({"min_should": {"min_count": 1}}, "filter.min_should.conditions", "is missing"),
    ({"min_should": {"conditions": [A], "min_count": 2}}, "filter.min_should.min_count", "from 1 to 1"),
    ({"min_should": {"conditions": [A], "min_count": True}}, "filter.min_should.min_count", "integer"),
    ({"min_should": {"conditions": [A, 3], "min_count": 1}}, "filter.min_should.conditions[1]", "not a number"),
    ({"must": [{"key": "a", "match": "x"}]}, "filter.must[0].match", "value, any, except or prefix"),
    ({"must": [match(1, "text")]}, "filter.must[0].match.text", "value, any, except or prefix"),
    ({"must": [{"key": "a", "match": {"value": 1, "any": [1]}}]}, "filter.must[0].match", "has value and any"),
    ({"must": [match(None)]}, "filter.must[0].match.value", "is_null"),
    ({"must": [match([1])]}, "filter.must[0].match.value", "not a list"),
    ({"must": [match("x", "any")]}, "filter.must[0].match.any", "must be a list"),
    ({"must": [match([1, {}], "except")]}, "filter.must[0].match.except[1]", "not an object"),
    ({"must": [match(1, "prefix")]}, "filter.must[0].match.prefix", "a string"),
    ({"must": [match(math.nan)]}, "filter.must[0].match.value", "finite"),
    ({"must": [match(-math.inf)]}, "filter.must[0].match.value", "finite"),
    ({"must": [match(2**63)]}, "filter.must[0].match.value", "keep it as a string"),
    ({"must": [match(10**400)]}, "filter.must[0].match.value", "keep it as a string"),
    ({"must": [match(1e19)]}, "filter.must[0].match.value", "keep it as a string"),
    ({"must": [match("a\0b")]}, "filter.must[0].match.value", "U+0000"),
    ({"must": [match("\ud800")]}, "filter.must[0].match.value", "Unicode"),
    ({"must": [match("x" * (MAX_STRING_CHARACTERS + 1))]}, "filter.must[0].match.value", str(MAX_STRING_CHARACTERS)),
    ({"must": [match(1, key="")]}, "filter.must[0].key", "non-empty"),
    ({"must": [match(1, key=3)]}, "filter.must[0].key", "string"),
    ({"must": [match(1, key="a..b")]}, "filter.must[0].key", "empty part"),
    ({"must": [match(1, key="\ud800")]}, "filter.must[0].key", "Unicode"),
    ({"must": [match(1, key="k" * (MAX_KEY_CHARACTERS + 1))]}, "filter.must[0].key", str(MAX_KEY_CHARACTERS)),
    ({"must": [{"key": "a", "exists": 1}]}, "filter.must[0].exists", "true or false"),
    ({"must": [{"key": "a", "range": {}}]}, "filter.must[0].range", "no bound"),
    ({"must": [{"key": "a", "range": {"from": 1}}]}, "filter.must[0].range.from", "gt, gte, lt or lte"),
    ({"must": [{"key": "a", "range": {"gt": 1, "gte": 1}}]}, "filter.must[0].range.gt", "one of the two"),
    ({"must": [{"key": "a", "range": {"gte": True}}]}, "filter.must[0].range.gte", "not a boolean"),
    ({"must": [{"key": "a", "range": {"gte": 1, "lt": "2024-01-01T00:00:00Z"}}]}, "filter.must[0].range", "mixes"),
    ({"must": [{"key": "a", "range": {"gte": "2024-01-01T00:00:00"}}]}, "filter.must[0].range.gte", "offset"),
    ({"must": [{"key": "a", "range": {"gte": "2024-01-01"}}]}, "filter.must[0].range.gte", "offset"),
    ({"must": [{"key": "a", "range": {"gte": "0001-01-01T00:00:00+01:00"}}]}, "filter.must[0].range.gte", "RFC 3339"),
    ({"must": [{"has_id": "x"}]}, "filter.must[0].has_id", "must be a list"),
    ({"must": [{"has_id": ["x", 1]}]}, "filter.must[0].has_id[1]", "document id"),
    ({"must": [{"has_id": [""]}]}, "filter.must[0].has_id[0]", "512 bytes"),
    ({"must": [{"has_id": ["é" * 257]}]}, "filter.must[0].has_id[0]", "512 bytes"),
    ({"must": [match(list(range(MAX_LIST_VALUES)), "any"), {"has_id": ["x"]}]}, "filter.must[1].has_id", str(MAX_LIST_VALUES)),
    ({"should": [A] * (MAX_CONDITIONS + 1)}, f"filter.should[{MAX_CONDITIONS}]", str(MAX_CONDITIONS)),
    (nested(MAX_DEPTH + 1), "filter" + ".must_not[0]" * MAX_DEPTH, f"deeper than {MAX_DEPTH}"),
]


@pytest.mark.parametrize(("value", "field", "remedy"), WRONG, ids=[f"{field}-{remedy[:20]}" for _, field, remedy in WRONG])
def test_an_error_names_path_and_remedy(value: Any, field: str, remedy: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(value)
    assert caught.value.field == field
    assert remedy in caught.value.detail
    assert "\n" not in caught.value.detail


def test_errors_begin_with_the_path_that_the_caller_gives() -> None:
    with pytest.raises(FilterError) as caught:
        parse({"must": [1]}, "searches[3].filter")
    assert caught.value.field == "searches[3].filter.must[0]"


def test_a_filter_at_its_bounds_is_taken() -> None:
    parse(nested(MAX_DEPTH))
    parse({"should": [A] * MAX_CONDITIONS})
    parse({"must": [match(list(range(MAX_LIST_VALUES)), "any")]})
    parse({"must": [match("x" * MAX_STRING_CHARACTERS, key="k" * MAX_KEY_CHARACTERS), {"has_id": ["é" * 256]}]})


def test_a_very_deep_value_is_refused_not_followed() -> None:
    with pytest.raises(FilterError, match="deeper"):
        parse(nested(5_000))


SAME: list[tuple[Any, Any]] = [
    ({"must": [A, B]}, {"must": [B, A, B]}),
    ({"must": [match([1], "any")]}, {"must": [A]}),
    ({"must": [match(["b", "a", 1, 1.0], "any")]}, {"must": [match([1, "a", "b"], "any")]}),
    ({"must": [match(1.0)]}, {"must": [A]}),
    ({"must": [match(-0.0)]}, {"must": [match(0)]}),
    ({"should": [A]}, {"must": [A]}),
    ({"must": [{"must": [A, {"must": [B]}]}]}, {"must": [A, B]}),
    ({"should": [A, {"should": [B, C]}]}, {"should": [A, B, C]}),
    ({"must_not": [{"should": [A, B]}]}, {"must_not": [A, B]}),
    ({"must": [{"should": [A, B]}]}, {"should": [A, B]}),
    ({"min_should": {"conditions": [A, B], "min_count": 2}}, {"must": [A, B]}),
    ({"min_should": {"conditions": [A, B], "min_count": 1}}, {"should": [A, B]}),
    ({"must": [], "must_not": []}, {}),
    ({"must": [{}]}, {}),
    ({"must": [{"has_id": ["b", "a", "b"]}]}, {"must": [{"has_id": ["a", "b"]}]}),
    (
        {"must": [{"key": "a", "range": {"lt": "2024-01-01T01:00:00+01:00"}}]},
        {"must": [{"key": "a", "range": {"lt": "2024-01-01t00:00:00.000Z"}}]},
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_filters_that_say_the_same_are_one(one: Any, other: Any) -> None:
    assert parse(one) == parse(other)
    assert parse(one).canonical_bytes() == parse(other).canonical_bytes()


@pytest.mark.parametrize("value", ["1", True, 1.5])
def test_values_of_other_types_make_other_filters(value: Any) -> None:
    one, other = parse({"must": [A]}), parse({"must": [match(value)]})
    assert one != other
    assert one.canonical_bytes() != other.canonical_bytes()


def test_a_condition_that_counts_twice_stays_twice() -> None:
    twice = parse({"min_should": {"conditions": [A, A, B], "min_count": 2}})
    assert twice.min_should is not None
    assert len(twice.min_should.conditions) == 3


def test_the_empty_filter_asks_for_nothing() -> None:
    assert parse({}) == Filter()
    assert parse({}).canonical() == {}


@seeded(SEED)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(oracle.filters)
def test_a_canonical_filter_parses_to_itself(written: dict[str, Any]) -> None:
    note(f"seed: {SEED}")
    filter_ = parse(written)
    again = parse(orjson.loads(filter_.canonical_bytes()))
    assert again == filter_
    assert again.canonical_bytes() == filter_.canonical_bytes()


_words = st.sampled_from(
    [
        "must",
        "should",
        "must_not",
        "min_should",
        "conditions",
        "min_count",
        "key",
        "match",
        "value",
        "any",
        "range",
        "gt",
        "has_id",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=12,
)


@seeded(SEED)
@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(_json)
def test_any_json_is_a_filter_or_a_clear_error(value: Any) -> None:
    note(f"seed: {SEED}")
    with suppress(FilterError):
        parse(value)
