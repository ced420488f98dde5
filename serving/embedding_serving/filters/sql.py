"""Pieces of SQL with their parameters, in the order of their marks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from .grammar import Bound, Range

Parameter = str | int | float | bytes

COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class Sql:
    text: str
    parameters: tuple[Parameter, ...] = ()
    reads_rows: bool = False
    """Whether the text speaks of `r`, a row of the table `rows`."""

    def wrapped(self, before: str, after: str = "") -> "Sql":
        return Sql(f"{before}{self.text}{after}", self.parameters, self.reads_rows)


def joined(separator: str, pieces: Iterable[Sql]) -> Sql:
    pieces = tuple(pieces)
    return Sql(
        separator.join(piece.text for piece in pieces),
        tuple(parameter for piece in pieces for parameter in piece.parameters),
        any(piece.reads_rows for piece in pieces),
    )


def one_of(column: str, values: Sequence[Parameter]) -> Sql:
    """Membership; thousands of strings and integers are a single parameter."""
    if len(values) == 1:
        return Sql(f"{column} = ?", (values[0],))
    if len(values) <= 8 or not all(isinstance(value, str | int) for value in values):
        return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (orjson.dumps(values).decode(),))


def text_range(column: str, prefix: str) -> Sql:
    """Strings that begin with `prefix`, as a range that an index can answer. Byte order is that of code points."""
    end = _successor(prefix)
    if end is None:
        return Sql(f"{column} >= ? AND {column} < x''", (prefix,))
    return Sql(f"{column} >= ? AND {column} < ?", (prefix, end))


def bounded(column: str, range_: Range, mark: str = "?") -> list[Sql]:
    return [Sql(f"{column} {COMPARISONS[name]} {mark}", (_plain(bound),)) for name, bound in range_.bounds.items()]


def _plain(bound: Bound) -> int | float:
    return bound if isinstance(bound, int | float) else bound.microseconds


def _successor(prefix: str) -> str | None:
    """The smallest string beyond all that begin with `prefix`; None where there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)
