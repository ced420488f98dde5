"""Every test against every value, one document a value, declared in every way and not at all."""

from itertools import pairwise
from typing import Any

import pytest

from embedding_serving.contract.index import FieldType
from embedding_serving.filters import Declared, parse
from fixtures.filter_oracle import DATES, NOT_DATES, NUMBERS, TEXTS, Document, matches
from unit.filters.store import filled, found

DIFFICULT_NUMBERS = (0.1 + 0.2, 1.7976931348623157e18, 5e-324, 123456789.12345679, 6.818961158358185, 4.983239179442755e-64)
"""SQLite before 3.43 reads some decimals one bit off, at least as SQL."""

SCALARS: tuple[Any, ...] = (*TEXTS, *NUMBERS, *DIFFICULT_NUMBERS, True, False)
VALUES: tuple[Any, ...] = (
    None,
    *SCALARS,
    *DATES,
    *NOT_DATES,
    *([value] for value in SCALARS[::3]),
    [],
    [None],
    [None, "a"],
    [[]],
    [["a"], [1]],
    [1, 3],
    ["1", True],
    list(DATES),
    [{"b": "a"}],
    {},
    {"b": "a"},
    {"b": 1, "0": "a", "a": True},
    {"b": DATES[0]},
    1e300,
    -1e300,
    2**64 - 1,
)


def _ranges(values: tuple[Any, ...]) -> list[dict[str, Any]]:
    single = [{"range": {name: value}} for value in values for name in ("gt", "gte", "lt", "lte")]
    return single + [{"range": {"gte": low, "lt": high}} for low, high in pairwise(values)]


TESTS: dict[str, list[dict[str, Any]]] = {
    "value": [{"match": {"value": value}} for value in (*SCALARS, *DATES, *NOT_DATES)],
    "any": [{"match": {"any": list(SCALARS[start : start + 12])}} for start in range(0, len(SCALARS), 6)],
    "except": [{"match": {"except": list(SCALARS[start : start + 12])}} for start in range(0, len(SCALARS), 6)],
    "no values": [{"match": {"any": []}}, {"match": {"except": []}}],
    "prefix": [{"match": {"prefix": text}} for text in (*TEXTS, "2024-02")],
    "numbers": _ranges((*NUMBERS, *DIFFICULT_NUMBERS)),
    "dates": _ranges(DATES),
    "presence": [{name: value} for name in ("exists", "is_null", "is_empty") for value in (True, False)],
}


WAYS = [("a", None), ('q"a', None), *(("a", type_) for type_ in FieldType)]
"""Key and declared type; a key with a quote is read in another way."""


@pytest.mark.parametrize(("key", "declared"), WAYS)
@pytest.mark.parametrize("tests", TESTS.values(), ids=TESTS)
def test_every_value_answers_every_test(tests: list[dict[str, Any]], key: str, declared: FieldType | None) -> None:
    fields: Declared = {} if declared is None else {key: (1, declared)}
    documents = [Document("without", {"b": "a"})]
    documents += [Document(f"d{number}", {key: value, "b": None}) for number, value in enumerate(VALUES)]
    connection = filled(documents, fields)
    for test in tests:
        condition = {"key": key, **test}
        for filter_ in ({"must": [condition]}, {"must_not": [condition]}):
            meant = [document.metadata.get(key) for document in documents if matches(filter_, document)]
            answer = [documents[row - 1].metadata.get(key) for row in found(connection, parse(filter_), fields)]
            assert answer == meant, filter_
