"""The CustomResourceDefinitions in crds/, generated from the models in `api`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .api import EMBEDDING_MODELS, GROUP, KINDS, SEARCH_SERVICES, VECTOR_INDEXES, VERSION, Kind
from .api.cel import Rule
from .api.resource import Part
from .api.values import OWN_NAME, OWN_NAME_LENGTH
from .structural import Schema, structural

CATEGORY = "embedding"
DIRECTORY = Path("crds")
HEADER = "# Generated from operator/embedding_operator/api by `python -m embedding_operator crds`. Do not edit.\n"


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; a priority above 0 shows it with `-o wide` alone."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


def _condition(name: str, member: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{name}")].{member}'


_READY = Column("Ready", _condition("Ready"))
_UP_TO_DATE = Column("UpToDate", _condition("UpToDate"))
_REASON = Column("Reason", _condition("Ready", "reason"), priority=1)
_PROGRESS = Column("Progress", ".status.progress")
_AGE = Column("Age", ".metadata.creationTimestamp", "date")

COLUMNS: dict[Kind, tuple[Column, ...]] = {
    EMBEDDING_MODELS: (
        _READY,
        _UP_TO_DATE,
        Column("Revision", ".status.revision"),
        Column("Dim", ".status.dimensions", "integer"),
        Column("Engine", ".status.engine"),
        Column("Replicas", ".status.readyReplicas", "integer"),
        _PROGRESS,
        _AGE,
        _REASON,
        Column("Task", ".spec.model.task", priority=1),
        Column("Endpoint", ".status.endpoint", priority=1),
    ),
    VECTOR_INDEXES: (
        _READY,
        _UP_TO_DATE,
        Column("Model", ".spec.modelRef.name"),
        Column("Serving", ".status.active.generation", "integer"),
        Column("Building", ".status.rebuild.generation", "integer"),
        _PROGRESS,
        Column("Docs", ".status.documents", "integer"),
        Column("Recall", ".status.recall"),
        _AGE,
        _REASON,
        Column("Writable", _condition("Writable"), priority=1),
        Column("Shards", ".status.active.shards", "integer", priority=1),
    ),
    SEARCH_SERVICES: (
        _READY,
        _UP_TO_DATE,
        Column("Index", ".spec.indexRef.name"),
        Column("Serving", ".status.route.generation", "integer"),
        Column("Replicas", ".status.readyReplicas", "integer"),
        _PROGRESS,
        Column("Endpoint", ".status.endpoint"),
        _AGE,
        _REASON,
    ),
}

SELECTABLE: dict[Kind, tuple[str, ...]] = {VECTOR_INDEXES: (".spec.modelRef.name",)}
"""Fields that a list can be narrowed by: an API server from 1.31 on keeps an index of them."""

SCALED = (EMBEDDING_MODELS, SEARCH_SERVICES)
"""Kinds with a scale subresource. A VectorIndex has none: an autoscaler on it would multiply by the shards."""


_NAME_RULES = (
    Rule(
        f"self.metadata.name.size() <= {OWN_NAME_LENGTH}",
        f"must be at most {OWN_NAME_LENGTH} characters, because names of pods and Services are made from it",
    ),
    Rule(
        f"self.metadata.name.matches('^{OWN_NAME}$')",
        "must start with a letter and have no dots, because it becomes the name of a Service",
    ),
)


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "embedding-operator"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in COLUMNS[kind]],
        "subresources": _subresources(kind),
    }
    if kind in SELECTABLE:
        version["selectableFields"] = [{"jsonPath": path} for path in SELECTABLE[kind]]
    return version | {"schema": {"openAPIV3Schema": schema(kind)}}


def schema(kind: Kind) -> Schema:
    """Structural schema of a whole object of `kind`."""
    properties: Schema = {
        "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"Always {kind.kind}."},
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": structural(_part(kind, "spec"), "spec"),
        "status": structural(_part(kind, "status"), "status"),
    }
    if kind in SCALED:
        # The scale subresource answers 500 for an object without a number of replicas.
        properties["spec"]["properties"]["replicas"]["default"] = _part(kind, "spec").model_fields["replicas"].default
    return {
        "type": "object",
        "description": " ".join((kind.model.__doc__ or "").split()),
        "required": ["spec"],
        "properties": properties,
        "x-kubernetes-validations": [
            {"rule": rule.rule, "message": f"metadata.name: {rule.message}", "fieldPath": ".metadata.name"}
            for rule in _NAME_RULES
        ],
    }


def _part(kind: Kind, member: str) -> type[Part]:
    annotation = kind.model.model_fields[member].annotation
    if not isinstance(annotation, type) or not issubclass(annotation, Part):
        raise TypeError(f"{kind.kind}.{member} is {annotation}, not a Part")
    return annotation


def render(kind: Kind) -> str:
    """Text of the file in crds/, without anything that a template engine reads, so that a chart may include it."""
    return HEADER + yaml.safe_dump(definition(kind), sort_keys=False, allow_unicode=True, width=120)


def file_name(kind: Kind) -> str:
    return f"{kind.plural}.{GROUP}.yaml"


def _column(column: Column) -> dict[str, Any]:
    out: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return out | ({"priority": column.priority} if column.priority else {})


def _subresources(kind: Kind) -> dict[str, Any]:
    if kind not in SCALED:
        return {"status": {}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {"status": {}, "scale": scale}


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the files, or with `--check` says which differ. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="embedding-operator crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where the files lie (default: %(default)s)")
    options = parser.parse_args(argv)
    return write_or_check({options.directory / file_name(kind): render(kind) for kind in KINDS}, check=options.check)


def write_or_check(texts: dict[Path, str], *, check: bool) -> int:
    """Brings generated files up to date, or names those that are not. Returns the exit status."""
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            sys.stderr.write(f"{path} is not what the models say: run the command without --check and commit the result\n")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
        sys.stderr.write(f"wrote {path}\n")
    return 1 if check and stale else 0
