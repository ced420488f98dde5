"""From JSON to a filter: everything that is wrong is named by its path, with the remedy."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..contract.index import MAX_ID_BYTES
from .errors import FilterError
from .grammar import Bound, Condition, Except, Exists, Filter, HasId, IsEmpty, IsNull, Match, MinShould, Prefix, Range
from .normal import normal, simplest
from .values import INTEGERS, Instant, Scalar, instant, number, scalar

MAX_DEPTH = 8
MAX_CONDITIONS = 256
MAX_LIST_VALUES = 10_000
MAX_KEY_CHARACTERS = 256
MAX_STRING_CHARACTERS = 4_096

_PARTS = ("must", "should", "must_not", "min_should")
_TESTS = ("match", "range", "exists", "is_null", "is_empty")
_MATCHES = ("value", "any", "except", "prefix")
_BOUNDS = ("gt", "gte", "lt", "lte")


def parse(value: Any, at: str = "filter") -> Filter:
    """Reads a decoded JSON value, in normal form. `at` begins the paths of errors. Raises FilterError."""
    if isinstance(value, Mapping) and ("key" in value or "has_id" in value):
        raise FilterError(at, 'is a single condition: put it in {"must": [...]}')
    return _Parser().filter(value, at, 1)


class _Parser:
    """One filter: counts what is bounded over the whole of it."""

    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0

    def filter(self, value: Any, at: str, depth: int) -> Filter:
        members = _members(value, at, _PARTS, "a filter")
        if depth > MAX_DEPTH:
            raise FilterError(at, f"is nested deeper than {MAX_DEPTH} filters: write it flatter")
        parts = {name: self._list(members[name], f"{at}.{name}", depth) for name in _PARTS[:3] if name in members}
        if "should" in parts and not parts["should"]:
            raise FilterError(f"{at}.should", "is empty, so that nothing could match: name a condition or leave it out")
        least = self._min_should(members["min_should"], f"{at}.min_should", depth) if "min_should" in members else None
        return normal(Filter(**parts, min_should=least))

    def _list(self, value: Any, at: str, depth: int) -> tuple[Condition, ...]:
        if not isinstance(value, list):
            raise FilterError(at, f"must be a list of conditions, not {_name(value)}")
        return tuple(self._condition(one, f"{at}[{number}]", depth) for number, one in enumerate(value))

    def _min_should(self, value: Any, at: str, depth: int) -> MinShould:
        members = _members(value, at, ("conditions", "min_count"), "min_should")
        for name in ("conditions", "min_count"):
            if name not in members:
                raise FilterError(f"{at}.{name}", 'is missing: min_should is {"conditions": [...], "min_count": 2}')
        conditions = self._list(members["conditions"], f"{at}.conditions", depth)
        count = members["min_count"]
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(conditions):
            raise FilterError(f"{at}.min_count", f"must be an integer from 1 to {len(conditions)}, the number of conditions")
        return MinShould(conditions, count)

    def _condition(self, value: Any, at: str, depth: int) -> Condition:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(at, f"is one condition too many: a filter has at most {MAX_CONDITIONS}; use match.any for lists")
        if not isinstance(value, Mapping):
            raise FilterError(at, f"must be a condition, which is an object, not {_name(value)}")
        if any(name in value for name in _PARTS) or not value:
            return simplest(self.filter(value, at, depth + 1))
        if "has_id" in value:
            return self._has_id(value, at)
        members = _members(value, at, ("key", *_TESTS), "a condition")
        if "key" not in members:
            raise FilterError(f"{at}.key", "is missing: name the metadata member that the condition is about")
        key = _key(members["key"], f"{at}.key")
        test = _only({name: one for name, one in members.items() if name != "key"}, at, _TESTS)
        read: dict[str, Callable[[str, Any, str], Condition]] = {"match": self._match, "range": _range}
        if test in read:
            return read[test](key, members[test], f"{at}.{test}")
        expected = members[test]
        if not isinstance(expected, bool):
            raise FilterError(f"{at}.{test}", f"must be true or false, not {_name(expected)}")
        presence: dict[str, Callable[[str, bool], Condition]] = {"exists": Exists, "is_null": IsNull, "is_empty": IsEmpty}
        return presence[test](key, expected)

    def _has_id(self, value: Mapping[str, Any], at: str) -> HasId:
        ids = _members(value, at, ("has_id",), "a has_id condition")["has_id"]
        at = f"{at}.has_id"
        self._count(ids, at)
        for place, one in enumerate(ids):
            if not isinstance(one, str) or not 1 <= len(_text(one, f"{at}[{place}]").encode()) <= MAX_ID_BYTES:
                raise FilterError(f"{at}[{place}]", f"must be a document id: a string of 1 to {MAX_ID_BYTES} bytes")
        return HasId(tuple(sorted(set(ids))))

    def _match(self, key: str, value: Any, at: str) -> Condition:
        members = _members(value, at, _MATCHES, "match")
        how = _only(members, at, _MATCHES)
        wanted, at = members[how], f"{at}.{how}"
        if how == "prefix":
            if not isinstance(wanted, str):
                raise FilterError(at, f"must be a string, not {_name(wanted)}")
            return Prefix(key, _text(wanted, at))
        if how == "value":
            return Match(key, (_scalar(wanted, at),))
        self._count(wanted, at)
        values = {_scalar(one, f"{at}[{place}]") for place, one in enumerate(wanted)}
        return (Match if how == "any" else Except)(key, tuple(sorted(values, key=lambda one: one.order)))

    def _count(self, values: Any, at: str) -> None:
        if not isinstance(values, list):
            raise FilterError(at, f"must be a list, not {_name(values)}")
        self._values += len(values)
        if self._values > MAX_LIST_VALUES:
            raise FilterError(at, f"goes beyond the {MAX_LIST_VALUES} list values that a filter may have: split the request")


def _range(key: str, value: Any, at: str) -> Range:
    members = _members(value, at, _BOUNDS, "range")
    if not members:
        raise FilterError(at, f"has no bound: give at least one of {', '.join(_BOUNDS)}")
    for strict, inclusive in (("gt", "gte"), ("lt", "lte")):
        if strict in members and inclusive in members:
            raise FilterError(f"{at}.{strict}", f"stands beside {inclusive}: give one of the two")
    bounds = {name: _bound(one, f"{at}.{name}") for name, one in members.items()}
    if len({isinstance(bound, Instant) for bound in bounds.values()}) > 1:
        raise FilterError(at, "mixes numbers and dates: give bounds of one type")
    return Range(key, **bounds)


def _bound(value: Any, at: str) -> Bound:
    if isinstance(value, str):
        found = instant(value)
        if found is None:
            raise FilterError(at, 'must be a number or a date with time and offset (RFC 3339), as "2026-01-31T12:00:00Z"')
        return found
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(at, f"must be a number or a date (RFC 3339), not {_name(value)}")
    return _number(value, at)


def _scalar(value: Any, at: str) -> Scalar:
    if value is None:
        raise FilterError(at, 'is null, which no value equals: use {"key": ..., "is_null": true}')
    if isinstance(value, str):
        return scalar(_text(value, at))
    if isinstance(value, bool):
        return scalar(value)
    if isinstance(value, int | float):
        return scalar(_number(value, at))
    raise FilterError(at, f"must be a string, a number or a boolean, not {_name(value)}")


def _number(value: float, at: str) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(at, "must be a finite number, not NaN or infinity")
    if not INTEGERS.start <= value < INTEGERS.stop:
        raise FilterError(at, "is outside of the 64-bit integers, where numbers are no longer exact: keep it as a string")
    return number(value)


def _key(value: Any, at: str) -> str:
    if not isinstance(value, str) or not value:
        raise FilterError(at, 'must be a non-empty string, as "author.name"')
    if len(value) > MAX_KEY_CHARACTERS:
        raise FilterError(at, f"is longer than {MAX_KEY_CHARACTERS} characters: no longer key can be asked for")
    if "" in value.split("."):
        raise FilterError(at, "has an empty part: a dot leads from an object to its member")
    return _text(value, at)


def _text(value: str, at: str) -> str:
    if len(value) > MAX_STRING_CHARACTERS:
        raise FilterError(at, f"is longer than {MAX_STRING_CHARACTERS} characters: compare a shorter value")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FilterError(at, "holds half of a surrogate pair: send valid Unicode") from None
    if "\0" in value:
        raise FilterError(at, "holds the character U+0000, which no metadata can hold: leave it out")
    return value


def _members(value: Any, at: str, known: tuple[str, ...], what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FilterError(at, f"must be an object with {_listed(known)}, not {_name(value)}")
    for name in value:
        if name not in known:
            raise FilterError(f"{at}.{name}", f"is unknown: {what} has {_listed(known)}")
    return value


def _only(members: Mapping[str, Any], at: str, known: tuple[str, ...]) -> str:
    if len(members) != 1:
        found = f"has {_listed(tuple(members), 'and')}" if members else "has none of its tests"
        raise FilterError(at, f"{found}: give exactly one of {_listed(known)}")
    return next(iter(members))


def _listed(names: tuple[str, ...], last: str = "or") -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]


def _name(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
