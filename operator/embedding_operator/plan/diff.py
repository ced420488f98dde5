"""Whether a live object still is what was intended: a no-op apply is a write too, so none is made."""

from typing import Any

from ..api.quantity import amount
from ..build.names import INTENT_HASH, digest
from ..resources import Manifest

QUANTITY_MAPS = frozenset({"limits", "requests"})
QUANTITY_KEYS = frozenset({"sizeLimit", "averageValue", "value"})


def stamped(intent: Manifest) -> Manifest:
    """The intent with its own hash as an annotation: a field that has left the intent shows in it."""
    meta = intent["metadata"]
    annotations = meta.get("annotations", {}) | {INTENT_HASH: digest(intent)[:16]}
    return intent | {"metadata": meta | {"annotations": annotations}}


def drifted(intent: Manifest, live: Manifest) -> bool:
    """True where the live object lacks anything of a stamped intent. What the server or others added is no drift."""
    return not _within(intent, live, key="")


def _within(wanted: Any, found: Any, key: str) -> bool:
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return not wanted and found is None  # the server drops empty objects
        inner = key if key in QUANTITY_MAPS else ""
        return all(_within(value, found.get(name), inner or name) for name, value in wanted.items())
    if isinstance(wanted, list):
        return _list_within(wanted, found or [], key)
    if isinstance(wanted, str) and isinstance(found, str) and (key in QUANTITY_MAPS or key in QUANTITY_KEYS):
        return _same_quantity(wanted, found)
    if wanted == "" and found is None:
        return True  # as is an empty string, in an environment variable for instance
    return bool(wanted == found)


def _list_within(wanted: list[Any], found: list[Any], key: str) -> bool:
    if wanted and all(isinstance(item, dict) and "name" in item for item in wanted):
        by_name = {item.get("name"): item for item in found if isinstance(item, dict)}
        return all(_within(item, by_name.get(item["name"]), key) for item in wanted)
    return len(wanted) == len(found) and all(_within(a, b, key) for a, b in zip(wanted, found, strict=True))


def _same_quantity(wanted: str, found: str) -> bool:
    try:
        return amount(wanted) == amount(found)
    except ValueError:
        return wanted == found
