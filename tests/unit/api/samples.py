"""One small valid manifest for every field of a kind, made by walking its schema."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from embedding_operator.api import API_VERSION, Kind
from embedding_operator.api.cel import VALIDATIONS
from embedding_operator.crd import schema
from embedding_operator.structural import Schema

Manifest = dict[str, Any]
Path = tuple[str, ...]
"""Members from the root; `[]` is the only item of a list."""

STRINGS = {
    "claimName": "models",
    "host": "search.example.com",
    "hostnames": "search.example.com",
    "lastTransitionTime": "2026-01-31T12:00:00Z",
    "path": "/models/minilm",
    "reference": f"registry.example.com/minilm@sha256:{'0' * 64}",
    "repo": "sentence-transformers/all-MiniLM-L6-v2",
    "schedule": "0 3 * * 0",
    "sha256": "0" * 64,
    "since": "2026-01-31T12:00:00Z",
    "startedAt": "2026-01-31T12:00:00Z",
    "timeZone": "Europe/Berlin",
    "until": "2026-01-31T12:00:00Z",
    "url": "https://models.example.com/minilm.tar.gz",
}
"""Values of strings whose format a rule checks, by the name of the member."""

COMMIT = "0" * 40
OBJECTS: dict[str, dict[str, Any]] = {
    "metrics.[]": {"type": "External", "target": "70", "name": "queue_length"},
    "tolerations.[]": {"key": "example.com/dedicated", "effect": "NoExecute"},
    "topologySpreadConstraints.[]": {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
}
"""Objects, by the end of their path, to which any one of their members may be added."""

COMPANIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("VectorIndex", "dimensions"): {"modelRef": None},
    ("VectorIndex", "acknowledge"): {"replicas": 2},
    ("VectorIndex", "index.parameters.lists"): {"index": {"type": "IVFFlat"}},
    ("VectorIndex", "index.parameters.m"): {"index": {"type": "HNSW"}},
    ("VectorIndex", "index.parameters.efConstruction"): {"index": {"type": "HNSW"}},
    ("VectorIndex", "index.parameters.subquantizers"): {"index": {"type": "IVFPQ"}},
    ("VectorIndex", "rebuild.timeZone"): {"rebuild": {"schedule": "@weekly"}},
    ("VectorIndex", "rebuild.autoPromotionSeconds"): {"rebuild": {"autoPromotionEnabled": False}},
    ("SearchService", "fallbackIndexRef"): {"indexRef": {"name": "docs"}},
    ("SearchService", "rateLimit.whenRedisFails"): {"cache": {"redisSecretRef": {"name": "redis"}}},
    ("SearchService", "expose"): {"apiKeysSecretRef": {"name": "keys"}},
}
"""What a field below spec, and all that is in it, asks for elsewhere in spec; None = takes the place of."""


def minimal(kind: Kind, name: str = "minimal") -> Manifest:
    """The smallest manifest of `kind` that is accepted."""
    spec = _value(_spec(kind), ("spec",))
    if kind.kind == "VectorIndex":
        spec["modelRef"] = {"name": "minilm"}
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


def one_per_field(kind: Kind) -> Iterator[tuple[str, Manifest]]:
    """Path of every field below spec, with a small manifest that sets it."""
    for number, (path, value) in enumerate(_fields(_spec(kind), ("spec",))):
        manifest = minimal(kind, f"field-{number}")
        manifest["spec"] = _with(_spec(kind), manifest["spec"], ("spec",), path[1:], value)
        for (name, field), companions in COMPANIONS.items():
            if name == kind.kind and ".".join(path[1:]).startswith(field):
                _merge(manifest["spec"], companions)
        yield ".".join(path), manifest


def full_status(kind: Kind) -> dict[str, Any]:
    """A status that sets every field."""
    status: dict[str, Any] = _value(schema(kind)["properties"]["status"], ("status",), everything=True)
    return status


@cache
def _spec(kind: Kind) -> Schema:
    spec: Schema = schema(kind)["properties"]["spec"]
    return spec


def _fields(node: Schema, path: Path) -> Iterator[tuple[Path, Any]]:
    for name, child in node.get("properties", {}).items():
        yield (*path, name), _value(child, (*path, name))
        yield from _fields(child, (*path, name))
    if "items" in node:
        yield from _fields(node["items"], (*path, "[]"))


def _with(node: Schema, current: Any, at: Path, path: Path, value: Any) -> Any:
    """`current`, which stands at `at`, with `value` at `path` below it."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if step == "[]":
        return [_with(node["items"], current[0], (*at, step), rest, value)]
    child, kept = node["properties"][step], current
    if is_one_of(node):
        kept = {name: member for name, member in current.items() if name == step}
    inner = kept[step] if step in kept else _value(child, (*at, step))
    return kept | {step: _with(child, inner, (*at, step), rest, value)}


def _value(node: Schema, path: Path, *, everything: bool = False) -> Any:
    """A valid value for `node` with what it requires, or with every field."""
    if "enum" in node:
        return node["enum"][-1]
    if node.get("x-kubernetes-int-or-string"):
        return "70"
    match node["type"]:
        case "integer":
            return max(node.get("minimum", 1), 1)
        case "boolean":
            return True
        case "string" if path[-2:] == ("huggingFace", "revision"):
            return COMMIT
        case "string":
            return STRINGS.get([step for step in path if step != "[]"][-1], "example")
        case "array":
            return [_value(node["items"], (*path, "[]"), everything=everything)]
    return _object(node, path, everything)


def _object(node: Schema, path: Path, everything: bool) -> dict[str, Any]:
    sample = OBJECTS.get(".".join(path[-2:]))
    if sample is not None:
        return dict(sample)
    if "additionalProperties" in node:
        key = {"limits": "nvidia.com/gpu", "requests": "cpu"}.get(path[-1], "example.com/key")
        return {key: _value(node["additionalProperties"], path)}
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return {"anything": {"goes": [1]}}
    properties = node.get("properties", {})
    names = list(properties) if everything else node.get("required", [])
    if not everything and is_one_of(node):
        names = list(properties)[-1:]
    return {name: _value(properties[name], (*path, name), everything=everything) for name in names}


def is_one_of(node: Schema) -> bool:
    """Whether exactly one member of `node` is given."""
    return any(".filter(given, given).size() == 1" in rule["rule"] for rule in node.get(VALIDATIONS, []))


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
