"""From a filter to one SELECT of row numbers over the tables `rows` and `field_values`.

A condition on a declared field that finds documents (rather than rules them out) can lead: then only the rows that the
index names are looked at. Without a leader every live row is. The other conditions are tests on the rows that are looked at.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..contract.index import FieldType
from . import stored_json
from .entries import AFTER_INSTANTS, EMPTY, FALSE, INSTANT, NULL, TRUE, Declared, Entry, boolean_entry, instant_entry
from .grammar import Condition, Except, Exists, Filter, HasId, IsEmpty, IsNull, Leaf, Match, Prefix, Range
from .sizes import sizes
from .sql import COMPARISONS, Parameter, Sql, bounded, joined, one_of, text_range
from .values import Instant, Kind

# Left to choose, SQLite takes the index of `deleted`, which is all live rows.
EXPIRED = "SELECT row FROM rows INDEXED BY rows_expiring WHERE expires_at IS NOT NULL AND deleted = 0 AND expires_at <= ?"

_LARGE = 4
"""Entering a row in a set costs about a quarter of testing a row by itself."""


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT of row numbers, in any order; a row may come more than once. `row_numbers` answers each once, ascending."""

    sql: str
    parameters: tuple[Parameter, ...]


def compile_filter(
    filter_: Filter, declared: Declared, now_ms: int, above: int = 0, connection: sqlite3.Connection | None = None
) -> Query:
    """Live documents that match and are not expired at `now_ms`, of rows beyond `above`.

    declared: the fields whose values `field_values` holds for every live row, whatever their type (`field_entries`).
    connection: where the rows of conditions may be counted, to let the smallest lead; without it the first equality does.
    Raises sqlite3.Error, with a connection.
    """
    unexpired = Sql(f"row NOT IN ({EXPIRED})", (now_ms,))
    found = _Compiler(declared, connection).select(filter_, (Sql("row > ?", (above,)), unexpired))
    return Query(found.text, found.parameters)


@dataclass(frozen=True, slots=True)
class _Plan:
    leader: Sql | None
    rest: Filter
    large: frozenset[Condition] = frozenset()
    """Conditions that name many more rows than the leader: their sets are not worth building."""


class _Compiler:
    def __init__(self, declared: Declared, connection: sqlite3.Connection | None) -> None:
        self._declared = declared
        self._connection = connection

    def select(self, filter_: Filter, on_row: tuple[Sql, ...] = ()) -> Sql:
        """SELECT of the rows that match; `on_row` are tests that begin with the row number."""
        plan = self._plan(filter_)
        row = "r.row" if plan.leader is None else "c.row"
        tests = [test.wrapped("r." if plan.leader is None else "c.") for test in on_row]
        tests.extend(self._tests(plan.rest, row, plan.large))
        if plan.leader is None:
            where = joined(" AND ", (Sql("r.deleted = 0"), *tests))
            return where.wrapped("SELECT r.row FROM rows AS r WHERE ")
        where = joined(" AND ", tests or (Sql("1"),))
        # CROSS JOIN keeps the order: first the index, then the document.
        join = " CROSS JOIN rows AS r ON r.row = c.row" if where.reads_rows else ""
        return joined("", (plan.leader.wrapped("SELECT c.row FROM (", f") AS c{join} WHERE "), where))

    def _plan(self, filter_: Filter) -> _Plan:
        """What names the rows to look at, if anything can, and what is left to test."""
        leading = {one: rank for one in filter_.must if (rank := self._rank(one)) is not None}
        if leading:
            counted = self._sizes([one for one in (*leading, *filter_.must_not) if self._is_counted(one)])
            known = {one: size for one, size in counted.items() if size is not None and one in leading}
            leader = min(known or leading, key=lambda one: (known.get(one, 0), leading[one]))
            rest = replace(filter_, must=tuple(one for one in filter_.must if one != leader))
            return _Plan(self._rows_of(leader), rest, _large(counted, known.get(leader)))
        if filter_.should and all(self._rank(one) is not None for one in filter_.should):
            return _Plan(joined(" UNION ALL ", map(self._rows_of, filter_.should)), replace(filter_, should=()))
        return _Plan(None, filter_)

    def _sizes(self, conditions: list[Condition]) -> dict[Condition, int | None]:
        if self._connection is None or len(conditions) < 2:
            return {}
        return dict(zip(conditions, sizes(self._connection, [self._rows_of(one) for one in conditions]), strict=True))

    def _is_counted(self, condition: Condition) -> bool:
        return not isinstance(condition, Filter) and self._rank(condition) is not None

    def _rank(self, condition: Condition) -> int | None:
        """Order in which conditions are preferred as leaders, by how few rows each may name; None = it can't lead."""
        if isinstance(condition, Filter):
            best = [rank for one in condition.must if (rank := self._rank(one)) is not None]
            if best:
                return min(best)
            ranks = [self._rank(one) for one in condition.should]
            known = [rank for rank in ranks if rank is not None]
            return max(known) if known and len(known) == len(ranks) else None
        if isinstance(condition, HasId):
            return 0
        if not self._is_indexed(condition):
            return None
        if isinstance(condition, Match):
            return 1 if len(condition.values) == 1 else 2
        if isinstance(condition, IsNull):
            return 1 if condition.expected else None
        if isinstance(condition, Prefix | Range):
            return 3
        return 4 if isinstance(condition, Except) or (isinstance(condition, Exists) and condition.expected) else None

    def _is_indexed(self, leaf: Leaf) -> bool:
        if isinstance(leaf, HasId) or leaf.key not in self._declared:
            return False
        return not isinstance(leaf, Range) or not leaf.of_instants or self._declared[leaf.key][1] is FieldType.DATE_TIME

    def _rows_of(self, condition: Condition) -> Sql:
        """SELECT of the rows that meet a condition that can lead, or that is tested by membership."""
        if isinstance(condition, Filter):
            return self.select(condition)
        if isinstance(condition, HasId):
            # The plus keeps SQLite from walking all live rows by the index of `deleted`.
            return one_of("id", condition.ids).wrapped("SELECT row FROM rows WHERE ", " AND +deleted = 0")
        field, _ = self._declared[condition.key]
        test = _entry_test(condition)
        return Sql(f"SELECT row FROM field_values WHERE field = ? AND {test.text}", (field, *test.parameters))

    def _tests(self, filter_: Filter, row: str, large: frozenset[Condition] = frozenset()) -> list[Sql]:
        """What is ANDed for a row that is looked at."""
        tests = [self._test(one, row, large) for one in filter_.must]
        if filter_.should:
            tests.append(joined(" OR ", (self._test(one, row, large) for one in filter_.should)).wrapped("(", ")"))
        tests.extend(self._test(one, row, large).wrapped("NOT (", ")") for one in filter_.must_not)
        if filter_.min_should is not None:
            terms = (self._test(one, row, large).wrapped("(", ")") for one in filter_.min_should.conditions)
            tests.append(joined(" + ", terms).wrapped("", f" >= {filter_.min_should.min_count}"))
        return tests

    def _test(self, condition: Condition, row: str, large: frozenset[Condition]) -> Sql:
        """0 or 1 for a row that is looked at."""
        if isinstance(condition, Filter):
            return joined(" AND ", self._tests(condition, row) or (Sql("1"),)).wrapped("(", ")")
        positive = self._positive_test(condition, row, condition in large)
        expected = not isinstance(condition, Exists | IsNull | IsEmpty) or condition.expected
        return positive if expected else positive.wrapped("NOT (", ")")

    def _positive_test(self, leaf: Leaf, row: str, is_large: bool) -> Sql:
        if not isinstance(leaf, HasId) and not self._is_indexed(leaf):
            return stored_json.condition(leaf)
        if not is_large or isinstance(leaf, HasId):
            # The plus keeps SQLite from walking the set and looking each member up among the rows: it may be the larger.
            return self._rows_of(leaf).wrapped(f"+{row} {'NOT ' if isinstance(leaf, IsEmpty) else ''}IN (", ")")
        if isinstance(leaf, Match) and len(leaf.values) == 1:
            field, _ = self._declared[leaf.key]
            exists = f"EXISTS (SELECT 1 FROM field_values AS v WHERE v.field = ? AND v.value = ? AND v.row = {row})"
            return Sql(exists, (field, *_match_entries(leaf)))
        return stored_json.condition(leaf)


def _large(counted: Mapping[Condition, int | None], looked_at: int | None) -> frozenset[Condition]:
    if looked_at is None:
        return frozenset()
    return frozenset(one for one, size in counted.items() if size is None or size > _LARGE * looked_at)


def _entry_test(leaf: Leaf) -> Sql:
    """Test on the `value` of entries of a declared field. For IsEmpty: of those that make it not empty."""
    if isinstance(leaf, Match):
        return one_of("value", _match_entries(leaf))
    if isinstance(leaf, Except):
        a_value = Sql("(value < x'' OR value IN (?, ?))", (FALSE, TRUE))
        return joined(" AND ", (a_value, one_of("value", _match_entries(leaf)).wrapped("NOT (", ")")))
    if isinstance(leaf, Prefix):
        return text_range("value", leaf.prefix)
    if isinstance(leaf, Range):
        return _instants_within(leaf) if leaf.of_instants else _numbers_within(leaf)
    if isinstance(leaf, IsNull):
        return Sql("value = ?", (NULL,))
    if isinstance(leaf, IsEmpty):
        return Sql("value NOT IN (?, ?)", (NULL, EMPTY))
    return Sql("1")


def _match_entries(leaf: Match | Except) -> tuple[Entry, ...]:
    return tuple(boolean_entry(bool(one.value)) if one.kind is Kind.BOOLEAN else one.value for one in leaf.values)


def _numbers_within(range_: Range) -> Sql:
    bounds = bounded("value", range_)
    # Text and blobs come after all numbers.
    return joined(" AND ", bounds if range_.lt is not None or range_.lte is not None else (*bounds, Sql("value < ''")))


def _instants_within(range_: Range) -> Sql:
    bounds = [
        Sql(f"value {COMPARISONS[name]} ?", (instant_entry(bound.microseconds),))
        for name, bound in range_.bounds.items()
        if isinstance(bound, Instant)
    ]
    if range_.gt is None and range_.gte is None:
        bounds.append(Sql("value >= ?", (INSTANT,)))
    if range_.lt is None and range_.lte is None:
        bounds.append(Sql("value < ?", (AFTER_INSTANTS,)))
    return joined(" AND ", bounds)
