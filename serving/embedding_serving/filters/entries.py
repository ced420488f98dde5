"""What a document's metadata gives the index of declared fields, and how metadata is written.

Every value of a declared field is entered, of whatever type: so a filter answers the same whether a field is declared or
not, and a declaration is about speed alone. A type that SQLite would mix up with another is entered as a blob.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..contract.index import FieldType
from .errors import FilterError
from .parse import MAX_STRING_CHARACTERS
from .values import INTEGERS, microseconds

Declared = Mapping[str, tuple[int, FieldType]]
"""Number and type of each declared field, by its name."""

Entry = str | int | float | bytes

ABSENT = object()
NULL = b"n"
EMPTY = b"e"
OBJECT = b"o"
"""An object, or an array in an array: there, but nothing to compare."""
FALSE = b"f"
TRUE = b"t"
INSTANT = b"i"
"""Followed by the microseconds, big-endian and shifted to be unsigned: bytes compare as the instants do."""
AFTER_INSTANTS = b"j"


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """JSON text of a document's metadata as `rows.metadata` must hold it for filters to read it.

    Raises FilterError(`metadata`, ...) for what JSON or SQLite can't hold.
    """
    try:
        text = orjson.dumps(metadata).decode()
    except (TypeError, ValueError) as error:
        raise FilterError("metadata", f"cannot be written as JSON ({error}): send an object of JSON values") from None
    if "\\u0000" in text and _holds_nul(metadata):
        raise FilterError("metadata", "holds the character U+0000: leave it out")
    return text


def field_entries(metadata: Mapping[str, Any], declared: Declared) -> list[tuple[int, Entry]]:
    """Rows of `field_values` for a document: (field, value), none twice."""
    found: list[tuple[int, Entry]] = []
    for name, (field, type_) in declared.items():
        value = member(metadata, name)
        if value is not ABSENT:
            found.extend((field, entry) for entry in _entries(value, type_))
    return found


def member(metadata: Mapping[str, Any], key: str) -> Any:
    """What a key with dots leads to; ABSENT where there is nothing. Dots do not lead into arrays."""
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ABSENT
        value = value[part]
    return value


def boolean_entry(value: bool) -> bytes:
    return TRUE if value else FALSE


def instant_entry(microseconds_: int) -> bytes:
    return INSTANT + (microseconds_ - INTEGERS.start).to_bytes(8, "big")


def _entries(value: Any, type_: FieldType) -> Iterable[Entry]:
    if not isinstance(value, list):
        return _element_entries(value, type_)
    if not value:
        return (EMPTY,)
    return dict.fromkeys(entry for element in value for entry in _element_entries(element, type_))


def _element_entries(value: Any, type_: FieldType) -> tuple[Entry, ...]:
    if isinstance(value, str):
        # One character more than a filter can ask for: enough to be unequal to all that it can, and in its prefixes.
        entry = value[: MAX_STRING_CHARACTERS + 1]
        found = microseconds(value) if type_ is FieldType.DATE_TIME else None
        return (entry,) if found is None else (entry, instant_entry(found))
    if isinstance(value, bool):
        return (boolean_entry(value),)
    if isinstance(value, int):
        return (value if value in INTEGERS else float(value),)
    if isinstance(value, float):
        return (value if math.isfinite(value) else NULL,)
    return (NULL if value is None else OBJECT,)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_holds_nul(key) or _holds_nul(one) for key, one in value.items())
    return isinstance(value, list) and any(_holds_nul(one) for one in value)
