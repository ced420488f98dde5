"""Whether a live object still is what was intended: a no-op apply is a write too, so none is made."""

import math
from typing import Any

from embedding_serving.contract.settings import ENV_PREFIX

from ..api.quantity import amount
from ..build.names import INTENT_HASH, digest
from ..kube import FIELD_MANAGER
from ..resources import DEPLOYMENT, SERVICE, STATEFUL_SET, Manifest, Resource

QUANTITY_MAPS = frozenset({"limits", "requests"})
QUANTITY_KEYS = frozenset({"sizeLimit", "averageValue", "value", "tolerance"})
EXACT_MAPS = frozenset({"selector", "matchLabels", "nodeSelector"})
"""Maps in which one key more changes what is meant."""
_OF_PODS = (("spec", "template", "spec", "nodeSelector"), ("spec", "template", "spec", "hostNetwork"))
OURS_ALONE: dict[Resource, tuple[tuple[str, ...], ...]] = {
    DEPLOYMENT: (("spec", "paused"), *_OF_PODS),
    STATEFUL_SET: (("spec", "updateStrategy", "rollingUpdate", "partition"), *_OF_PODS),
    SERVICE: (("spec", "publishNotReadyAddresses"),),
}
"""Members that nobody may add: an apply that does not name them leaves them there."""


def stamped(intent: Manifest) -> Manifest:
    """The intent with its own hash as an annotation: a field that has left the intent shows in it."""
    meta = intent["metadata"]
    annotations = meta.get("annotations", {}) | {INTENT_HASH: digest(intent)[:16]}
    return intent | {"metadata": meta | {"annotations": annotations}}


def drifted(intent: Manifest, live: Manifest) -> bool:
    """True where the live object lacks anything of a stamped intent. What the server or others added is no drift."""
    return not _within(intent, live, key="")


def must_be_replaced(resource: Resource, intent: Manifest, live: Manifest) -> bool:
    """True where an apply would leave something foreign in place, or where a replacement already owns the fields."""
    added = any(_at(live, path) and not _at(intent, path) for path in OURS_ALONE.get(resource, ()))
    if added or _foreign_variables(intent, live):
        return True
    entries = live["metadata"].get("managedFields", [])
    replaced = any(
        e.get("manager") == FIELD_MANAGER and e.get("operation") == "Update" and not e.get("subresource") for e in entries
    )
    return replaced and drifted(intent, live)


def identity(live: Manifest, intent: Manifest) -> tuple[str, str, str]:
    """Names a state of an object and the intent that was compared with it."""
    meta = live["metadata"]
    return meta["uid"], meta["resourceVersion"], intent["metadata"]["annotations"][INTENT_HASH]


def _at(manifest: Manifest, path: tuple[str, ...]) -> Any:
    value: Any = manifest
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _foreign_variables(intent: Manifest, live: Manifest) -> bool:
    """Settings of the pods that somebody added: they would change what is served."""

    def variables(manifest: Manifest) -> set[tuple[str, str]]:
        spec = _at(manifest, ("spec", "template", "spec")) or {}
        containers = [*spec.get("initContainers", []), *spec.get("containers", [])]
        return {(c["name"], e["name"]) for c in containers for e in c.get("env", []) if e["name"].startswith(ENV_PREFIX)}

    ours = {name for name, _ in variables(intent)}
    return any(name in ours for name, _ in variables(live) - variables(intent))


def _within(wanted: Any, found: Any, key: str) -> bool:
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return not wanted and found is None  # the server drops empty objects
        if key in EXACT_MAPS and wanted.keys() != found.keys():
            return False
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
    """Equal as the server keeps them: rounded up to thousandths."""
    try:
        return _thousandths(wanted) == _thousandths(found)
    except ValueError:
        return wanted == found


def _thousandths(quantity: str) -> int:
    return math.ceil(amount(quantity) * 1000)
