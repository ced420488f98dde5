"""A filter as a tree of frozen conditions, and as JSON."""

from dataclasses import dataclass
from typing import Any

import orjson

from .values import Instant, Scalar

Bound = int | float | Instant


@dataclass(frozen=True, slots=True)
class Match:
    """A value of `key` is one of these."""

    key: str
    values: tuple[Scalar, ...]

    def canonical(self) -> dict[str, Any]:
        values = [one.value for one in self.values]
        return {"key": self.key, "match": {"value": values[0]} if len(values) == 1 else {"any": values}}


@dataclass(frozen=True, slots=True)
class Except:
    """A string, number or boolean of `key` is none of these."""

    key: str
    values: tuple[Scalar, ...]

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "match": {"except": [one.value for one in self.values]}}


@dataclass(frozen=True, slots=True)
class Prefix:
    """A string of `key` begins so."""

    key: str
    prefix: str

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "match": {"prefix": self.prefix}}


@dataclass(frozen=True, slots=True)
class Range:
    """One value of `key` is within all bounds, which are all numbers or all instants."""

    key: str
    gt: Bound | None = None
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None

    @property
    def bounds(self) -> dict[str, Bound]:
        found = {"gt": self.gt, "gte": self.gte, "lt": self.lt, "lte": self.lte}
        return {name: bound for name, bound in found.items() if bound is not None}

    @property
    def of_instants(self) -> bool:
        return any(isinstance(bound, Instant) for bound in self.bounds.values())

    def canonical(self) -> dict[str, Any]:
        bounds = {name: str(bound) if isinstance(bound, Instant) else bound for name, bound in self.bounds.items()}
        return {"key": self.key, "range": bounds}


@dataclass(frozen=True, slots=True)
class Exists:
    """`key` is there, whatever it holds."""

    key: str
    expected: bool = True

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "exists": self.expected}


@dataclass(frozen=True, slots=True)
class IsNull:
    """`key` holds null, or an array with a null."""

    key: str
    expected: bool = True

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "is_null": self.expected}


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """`key` is not there, or is null, [] or an array of nulls."""

    key: str
    expected: bool = True

    def canonical(self) -> dict[str, Any]:
        return {"key": self.key, "is_empty": self.expected}


@dataclass(frozen=True, slots=True)
class HasId:
    """The document is one of these."""

    ids: tuple[str, ...]

    def canonical(self) -> dict[str, Any]:
        return {"has_id": list(self.ids)}


@dataclass(frozen=True, slots=True)
class MinShould:
    """At least `min_count` of the conditions hold."""

    conditions: tuple["Condition", ...]
    min_count: int

    def canonical(self) -> dict[str, Any]:
        return {"conditions": [one.canonical() for one in self.conditions], "min_count": self.min_count}


@dataclass(frozen=True, slots=True)
class Filter:
    """All of `must`, none of `must_not`, one of `should` if there are any, and `min_should` if it is given."""

    must: tuple["Condition", ...] = ()
    should: tuple["Condition", ...] = ()
    must_not: tuple["Condition", ...] = ()
    min_should: MinShould | None = None

    def canonical(self) -> dict[str, Any]:
        """The filter as JSON that parses to an equal filter. The same for most ways to write the same filter."""
        parts = {"must": self.must, "should": self.should, "must_not": self.must_not}
        found: dict[str, Any] = {name: [one.canonical() for one in part] for name, part in parts.items() if part}
        if self.min_should is not None:
            found["min_should"] = self.min_should.canonical()
        return found

    def canonical_bytes(self) -> bytes:
        """`canonical` as JSON text, for keys of caches."""
        return orjson.dumps(self.canonical())


Leaf = Match | Except | Prefix | Range | Exists | IsNull | IsEmpty | HasId
Condition = Leaf | Filter
