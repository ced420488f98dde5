"""What the generated CRDs promise, without a server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedding_operator import crd
from embedding_operator.api import EMBEDDING_MODELS, KINDS, SEARCH_SERVICES, VECTOR_INDEXES, Kind
from embedding_operator.api.cel import VALIDATIONS
from embedding_operator.api.resource import Part
from embedding_operator.structural import KEPT, NotStructuralError, Schema, structural

ROOT = Path(__file__).parents[3]
ALLOWED = KEPT | {"additionalProperties", "default", "items", "properties", VALIDATIONS}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def nodes(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema in `node`, with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{path}.<key>")


def parts(kind: Kind) -> Iterator[tuple[str, Schema]]:
    """Every schema below spec and status."""
    return ((path, node) for path, node in nodes(crd.schema(kind)) if path.startswith(("spec", "status")))


@every_kind
def test_the_committed_file_is_what_the_models_say(kind: Kind) -> None:
    assert (ROOT / "crds" / crd.file_name(kind)).read_text() == crd.render(kind), "run python -m embedding_operator crds"


def test_no_other_file_lies_beside_the_crds() -> None:
    assert {path.name for path in (ROOT / "crds").iterdir()} == {crd.file_name(kind) for kind in KINDS}


def test_check_names_the_stale_file_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--directory", str(tmp_path)]) == 0
    assert crd.main(["--directory", str(tmp_path), "--check"]) == 0
    stale = tmp_path / crd.file_name(VECTOR_INDEXES)
    stale.write_text("edited by hand\n")
    capsys.readouterr()
    assert crd.main(["--directory", str(tmp_path), "--check"]) == 1
    assert str(stale) in capsys.readouterr().err
    assert stale.read_text() == "edited by hand\n"


@every_kind
def test_a_file_fits_the_annotation_of_client_side_apply_and_no_template_engine_reads_it(kind: Kind) -> None:
    text = crd.render(kind)
    assert len(text.encode()) < 256 * 1024
    assert "{{" not in text


@every_kind
def test_the_schema_is_structural(kind: Kind) -> None:
    for path, node in parts(kind):
        assert not node.keys() - ALLOWED - {"x-kubernetes-preserve-unknown-fields"}, path
        assert node.get("x-kubernetes-int-or-string") or "type" in node, path
        assert not {"properties", "additionalProperties"} <= node.keys(), path
        assert node.get("type") != "number", path


@every_kind
def test_only_the_replicas_of_a_scale_subresource_have_a_default(kind: Kind) -> None:
    defaults = {path: node["default"] for path, node in parts(kind) if "default" in node}
    expected = {EMBEDDING_MODELS.kind: {"spec.replicas": 1}, SEARCH_SERVICES.kind: {"spec.replicas": 2}}
    assert defaults == expected.get(kind.kind, {})


@every_kind
def test_everything_has_a_bound(kind: Kind) -> None:
    bounds = {"string": {"maxLength"}, "array": {"maxItems"}, "integer": {"minimum", "maximum"}}
    for path, node in parts(kind):
        if "enum" in node:
            continue
        assert bounds.get(node.get("type", ""), set()) <= node.keys(), path
        assert "additionalProperties" not in node or "maxProperties" in node, path


@every_kind
def test_every_field_has_a_description(kind: Kind) -> None:
    for path, node in parts(kind):
        if not path.endswith(("[]", ">")):
            assert len(node.get("description", "")) > 8, path
            assert node["description"].endswith((".", "Z")), path


@every_kind
def test_every_rule_starts_with_the_path_of_its_field(kind: Kind) -> None:
    for path, node in nodes(crd.schema(kind)):
        for rule in node.get(VALIDATIONS, []):
            field = path + rule.get("fieldPath", "") if path else "metadata.name"
            assert rule["message"].startswith(f"{field}: "), rule
            assert len(rule["message"]) < 300


@every_kind
def test_lists_merged_by_key_require_that_key(kind: Kind) -> None:
    for path, node in parts(kind):
        keys = node.get("x-kubernetes-list-map-keys", [])
        assert set(keys) <= set(node.get("items", {}).get("required", [])), path


@every_kind
def test_columns_and_scale_paths_lead_to_fields(kind: Kind) -> None:
    version = crd.definition(kind)["spec"]["versions"][0]
    known = {f".{path}" for path, _ in nodes(crd.schema(kind))} | {".metadata.creationTimestamp"}
    scale = version["subresources"].get("scale", {})
    columns = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    for path in [*scale.values(), *columns]:
        assert path in known or path.startswith(".status.conditions[?(@.type=="), path


def test_names_are_those_that_people_type() -> None:
    names = {kind.kind: crd.definition(kind)["spec"]["names"] for kind in KINDS}
    assert {kind: name["shortNames"] for kind, name in names.items()} == {
        "EmbeddingModel": ["em"],
        "VectorIndex": ["vi"],
        "SearchService": ["ssvc"],
    }
    assert all(name["categories"] == ["embedding"] for name in names.values())


class Inner(Part):
    """An object."""

    number: int
    """A number."""


class WithFraction(Part):
    """A part with a fraction."""

    share: float
    """A share."""


class WithUnion(Part):
    """A part with a union."""

    either: Inner | str
    """One or the other."""


class WithTuple(Part):
    """A part with a pair."""

    pair: tuple[int, str]
    """Two things."""


class WithSet(Part):
    """A part with a set."""

    names: set[str]
    """Names."""


@pytest.mark.parametrize("model", [WithFraction, WithUnion, WithTuple, WithSet], ids=lambda model: model.__name__)
def test_what_a_crd_cannot_say_is_refused_with_its_path(model: type[Part]) -> None:
    with pytest.raises(NotStructuralError, match=r"^spec\.(share|either|pair|names): "):
        structural(model, "spec")


def test_the_yaml_reads_back_as_it_was_meant() -> None:
    for kind in KINDS:
        read: Any = yaml.safe_load(crd.render(kind))
        assert read == crd.definition(kind)
