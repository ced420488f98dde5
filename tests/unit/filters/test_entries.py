"""What a document's metadata gives the index, and what metadata cannot hold."""

import math
from typing import Any

import pytest

from embedding_serving.contract.index import FieldType
from embedding_serving.filters import FilterError, field_entries, metadata_text
from embedding_serving.filters.entries import EMPTY, FALSE, NULL, OBJECT, TRUE, instant_entry
from embedding_serving.filters.values import microseconds

DECLARED = {"a": (7, FieldType.KEYWORD), "d.t": (8, FieldType.DATE_TIME)}


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("x", ["x"]),
        (["x", "y", "x"], ["x", "y"]),
        (1, [1]),
        ([1, 1.0, True], [1, TRUE]),
        ([False, None, [], {"b": 1}], [FALSE, NULL, OBJECT]),
        ([], [EMPTY]),
        ({"b": 1}, [OBJECT]),
        (None, [NULL]),
        (math.nan, [NULL]),
        (2**64, [float(2**64)]),
    ],
)
def test_every_value_of_a_declared_field_is_entered_once(value: Any, entries: list[Any]) -> None:
    assert field_entries({"a": value, "undeclared": 1}, DECLARED) == [(7, entry) for entry in entries]


def test_a_date_is_entered_as_text_and_as_an_instant() -> None:
    text = "2024-05-01T10:00:00+02:00"
    found = microseconds(text)
    assert found == 1_714_550_400_000_000
    assert field_entries({"d": {"t": [text, "no date"]}}, DECLARED) == [(8, text), (8, instant_entry(found)), (8, "no date")]


def test_entries_of_instants_are_ordered_as_the_instants() -> None:
    instants = [-(10**17), -1, 0, 1, 256, 10**17]
    assert sorted(map(instant_entry, instants)) == [instant_entry(one) for one in instants]


def test_a_member_that_is_not_there_gives_nothing() -> None:
    assert field_entries({"d": [{"t": "x"}]}, DECLARED) == []


def test_metadata_is_written_as_filters_read_it() -> None:
    assert metadata_text({"é": 'q"', "n": 1.0, "escaped": "\\u0000"}) == '{"é":"q\\"","n":1.0,"escaped":"\\\\u0000"}'


@pytest.mark.parametrize("metadata", [{"a": "x\0"}, {"a": [{"\0": 1}]}, {"a": "\ud800"}, {"a": 2**64}, {"a": object()}])
def test_metadata_that_cannot_be_kept_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(FilterError) as caught:
        metadata_text(metadata)
    assert caught.value.field == "metadata"
