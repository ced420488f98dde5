"""Conditions on members that have no index: SQL that reads the JSON text of `r.metadata`.

A key is always a parameter, never a part of the SQL: mostly as a quoted JSON path. SQLite's paths have no escape that holds
across its versions, so a key with a quote, a backslash or a control character is compared member by member instead.
"""

import re
from collections.abc import Iterator

import orjson

from .grammar import Except, Exists, IsEmpty, IsNull, Leaf, Match, Prefix, Range
from .sql import COMPARISONS, Parameter, Sql, bounded, joined, one_of, text_range
from .values import Instant, Kind, Scalar

_ESCAPED = re.compile(r'["\\\x00-\x1f]')

_DATE = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]*"
# SQLite takes days that a month does not have, and the hour 24.
_INSTANTS = """
SELECT (unixepoch(day || ' ' || clock) - sign * (substr(offset, 2, 2) * 3600 + substr(offset, 5, 2) * 60)) * 1000000
  + CAST(substr(substr(fraction, 2) || '000000', 1, 6) AS INTEGER) AS value
FROM (
  SELECT substr(t, 1, 10) AS day, substr(t, 12, 8) AS clock, substr(t, -zone) AS offset,
    substr(t, 20, length(t) - 19 - zone) AS fraction,
    CASE substr(t, -zone, 1) WHEN '+' THEN 1 WHEN '-' THEN -1 ELSE 0 END AS sign
  FROM (
    SELECT t, CASE WHEN t GLOB '*[Zz]' THEN 1 WHEN t GLOB '*[+-][0-2][0-9]:[0-5][0-9]' THEN 6 ELSE 0 END AS zone
    FROM ({texts})
  )
  WHERE zone > 0
)
WHERE date(day, '+0 days') = day AND day >= '0001' AND clock < '24' AND (sign = 0 OR substr(offset, 2, 2) <= '23')
  AND (fraction = '' OR (fraction GLOB '.[0-9]*' AND substr(fraction, 2) NOT GLOB '*[^0-9]*' AND length(fraction) <= 10))
"""


def condition(leaf: Leaf) -> Sql:
    """Whether the row `r` meets the condition. Never NULL."""
    if isinstance(leaf, Exists):
        return _exists(leaf.key)
    if isinstance(leaf, IsNull):
        return _some(leaf.key, Sql("v.type = 'null'"))
    if isinstance(leaf, IsEmpty):
        return joined(" OR ", (_is_object(leaf.key), _some(leaf.key, Sql("v.type <> 'null'")))).wrapped("NOT (", ")")
    if isinstance(leaf, Match):
        return _some(leaf.key, _equal(leaf.values))
    if isinstance(leaf, Except):
        other = _equal(leaf.values).wrapped("v.type IN ('text', 'integer', 'real', 'true', 'false') AND NOT ")
        return _some(leaf.key, other)
    if isinstance(leaf, Prefix):
        return _some(leaf.key, text_range("v.value", leaf.prefix).wrapped("v.type = 'text' AND "))
    if isinstance(leaf, Range):
        return _within(leaf)
    raise AssertionError(f"{leaf} is not about metadata")


def _within(range_: Range) -> Sql:
    if range_.of_instants:
        return _some_of(_instants(range_), joined(" AND ", bounded("v.value", range_)))
    bounds = (_number(f"v.value {COMPARISONS[name]} ", bound) for name, bound in range_.bounds.items())
    return _some(range_.key, joined(" AND ", bounds).wrapped("v.type IN ('integer', 'real') AND "))


def _equal(values: tuple[Scalar, ...]) -> Sql:
    """Whether `v` is one of the values."""
    texts = [one.value for one in values if one.kind is Kind.TEXT]
    numbers = [one.value for one in values if one.kind is Kind.NUMBER]
    integers = [one for one in numbers if isinstance(one, int)]
    alternatives = [Sql(f"v.type = '{orjson.dumps(one.value).decode()}'") for one in values if one.kind is Kind.BOOLEAN]
    if texts:
        alternatives.append(one_of("v.value", texts).wrapped("v.type = 'text' AND "))
    if integers:
        alternatives.append(one_of("v.value", integers).wrapped("v.type IN ('integer', 'real') AND "))
    if len(numbers) > len(integers):
        floats = joined(", ", (_number("", one) for one in numbers if isinstance(one, float)))
        alternatives.append(floats.wrapped("v.type = 'real' AND v.value IN (", ")"))
    return joined(" OR ", alternatives).wrapped("(", ")") if alternatives else Sql("0")


def _number(before: str, value: Parameter | object) -> Sql:
    """A number as SQLite reads it out of JSON. Some builds before 3.43 are one bit off: then the stored one is so too."""
    if isinstance(value, float):
        return Sql(f"{before}json_extract(?, '$')", (orjson.dumps(value).decode(),))
    assert isinstance(value, int)  # noqa: S101 - the caller sorted the instants out
    return Sql(f"{before}?", (value,))


def _some(key: str, test: Sql) -> Sql:
    return _some_of(_values(key), test)


def _some_of(values: Sql, test: Sql) -> Sql:
    found = joined(" AND ", (values, test.wrapped("(", ")")))
    return Sql(f"EXISTS (SELECT 1 FROM {found.text})", found.parameters, reads_rows=True)


def _values(key: str) -> Sql:
    """`v (type, value)`: what the key holds, the elements where that is an array; ends in a WHERE."""
    path = _path(key)
    if path is not None:
        # json_each lists the members of an object too; their keys are text.
        return Sql("json_each(r.metadata, ?) AS v WHERE typeof(v.key) <> 'text'", (path,))
    steps = _steps(key)
    elements = (
        f"SELECT e.type, e.value FROM {steps.text} "
        "JOIN json_each(CASE last.type WHEN 'array' THEN last.value ELSE '[]' END) AS e"
    )
    alone = f"SELECT last.type, last.value FROM {steps.text} WHERE last.type <> 'array'"
    return Sql(f"({elements} UNION ALL {alone}) AS v WHERE 1", steps.parameters * 2)


def _exists(key: str) -> Sql:
    path = _path(key)
    if path is not None:
        return Sql("json_type(r.metadata, ?) IS NOT NULL", (path,), reads_rows=True)
    return _steps(key).wrapped("EXISTS (SELECT 1 FROM ", ")")


def _is_object(key: str) -> Sql:
    path = _path(key)
    if path is not None:
        return Sql("json_type(r.metadata, ?) IS 'object'", (path,), reads_rows=True)
    return _steps(key).wrapped("EXISTS (SELECT 1 FROM ", " WHERE last.type = 'object')")


def _path(key: str) -> str | None:
    if _ESCAPED.search(key):
        return None
    return "$" + "".join(f'."{part}"' for part in key.split("."))


def _steps(key: str) -> Sql:
    """`last (type, value)`: the member that a key leads to, found by comparing one name after the other."""
    inside = "r.metadata"
    *parts, name = key.split(".")
    for _ in parts:
        inside = f"(SELECT CASE type WHEN 'object' THEN value ELSE '{{}}' END FROM json_each({inside}) WHERE key = ?)"
    # A member that is not there leaves NULL, of which json_each lists nothing. The innermost mark is the first part.
    text = f"(SELECT type, value FROM json_each({inside}) WHERE key = ?) AS last"
    return Sql(text, (*parts, name), reads_rows=True)


def _instants(range_: Range) -> Sql:
    """`v (value)`: the instants that a key holds, in microseconds; as `values.microseconds` reads them. Ends in a WHERE.

    Leaves out most that are outside of the range: those whose day on the wall is further away than an offset can reach.
    """
    values = _values(range_.key)
    days = joined(" AND ", (Sql(f"v.value GLOB '{_DATE}'"), *_near(range_)))
    text = f"SELECT v.value AS t FROM {values.text} AND {days.text}"
    return Sql(f"({_INSTANTS.format(texts=text)}) AS v WHERE 1", (*values.parameters, *days.parameters))


def _near(range_: Range) -> Iterator[Sql]:
    for name, bound in range_.bounds.items():
        assert isinstance(bound, Instant)  # noqa: S101 - the parser mixes no bounds
        day = bound.day_after(-1 if name in ("gt", "gte") else 2)
        if day is not None:
            yield Sql(f"v.value {'>=' if name in ('gt', 'gte') else '<'} ?", (day,))
