"""Values that filters compare: strictly typed scalars, and instants."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

INTEGERS = range(-(1 << 63), 1 << 63)
"""What SQLite keeps exactly."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC_3339 = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})[Tt ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hour>[0-9]{2}):(?P<offset_minute>[0-9]{2}))"
)


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A typed value: 1, "1" and true are three, 1 and 1.0 one."""

    kind: Kind
    value: str | int | float | bool

    @property
    def order(self) -> tuple[str, str | int | float | bool]:
        return self.kind.value, self.value


@dataclass(frozen=True, slots=True)
class Instant:
    """Microseconds since 1970 in UTC; finer digits are cut."""

    microseconds: int

    def day_after(self, days: int) -> str | None:
        """The day in UTC so many days later, as `2026-01-31`; None outside of the years 1 to 9999."""
        try:
            return (_EPOCH + self.microseconds * _MICROSECOND + timedelta(days=days)).date().isoformat()
        except OverflowError:
            return None

    def __str__(self) -> str:
        return (_EPOCH + self.microseconds * _MICROSECOND).isoformat().replace("+00:00", "Z")


def scalar(value: str | int | float | bool) -> Scalar:
    """Tags a value. A float without a fraction becomes an int, so that equal numbers are one."""
    if isinstance(value, bool):
        return Scalar(Kind.BOOLEAN, value)
    if isinstance(value, str):
        return Scalar(Kind.TEXT, value)
    return Scalar(Kind.NUMBER, number(value))


def number(value: float) -> int | float:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and int(value) in INTEGERS:
        return int(value)
    return value


def microseconds(text: str) -> int | None:
    """Instant of an RFC 3339 date-time, which has an offset; None for any other text.

    The SQL in `stored_json.instant` reads exactly the same texts as the same instants.
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        return None
    offset_hours, offset_minutes = int(found["offset_hour"] or 0), int(found["offset_minute"] or 0)
    if offset_hours > 23 or offset_minutes > 59:
        return None
    try:
        wall = datetime(*(int(found[part]) for part in ("year", "month", "day", "hour", "minute", "second")), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes) // _MICROSECOND
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    return (wall - _EPOCH) // _MICROSECOND + fraction - (-offset if found["sign"] == "-" else offset)


def instant(text: str) -> Instant | None:
    """As `microseconds`; None also where UTC leaves the years 1 to 9999."""
    found = microseconds(text)
    if found is None:
        return None
    try:
        _EPOCH + found * _MICROSECOND
    except OverflowError:
        return None
    return Instant(found)
