"""Objects of the API server as models, and back."""

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from embedding_operator.api import EMBEDDING_MODELS, KINDS, Condition, EmbeddingModel, Kind
from embedding_operator.api.autoscaling import Autoscaling, MetricType
from embedding_operator.api.embeddingmodel import EmbeddingModelSpec
from embedding_operator.api.quantity import amount
from embedding_operator.crd import schema
from embedding_operator.structural import Schema
from embedding_serving.contract.model import EngineName, Task
from unit.api.samples import full_status, is_one_of, minimal, one_per_field

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_an_object_of_its_kind_and_says_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# ")
    for document in yaml.safe_load_all(path.read_text()):
        kind = next(kind for kind in KINDS if kind.kind == document["kind"])
        spec = kind.model.model_validate(document).spec
        assert kind.model.model_validate(document | {"spec": spec.manifest()}).spec == spec


@every_kind
def test_every_field_comes_back_as_it_was_given(kind: Kind) -> None:
    for path, manifest in one_per_field(kind):
        assert kind.model.model_validate(manifest).spec.manifest() == manifest["spec"], path


@every_kind
def test_every_field_of_status_comes_back_as_it_was_given(kind: Kind) -> None:
    status = full_status(kind)
    assert kind.model.model_validate(minimal(kind) | {"status": status}).status.manifest() == status


@every_kind
def test_members_of_a_newer_api_are_ignored(kind: Kind) -> None:
    manifest = minimal(kind)
    manifest["spec"]["hologram"] = {"on": True}
    manifest["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert "hologram" not in kind.model.model_validate(manifest).spec.manifest()


def test_absence_means_what_the_reference_says() -> None:
    spec = EmbeddingModel.model_validate(minimal(EMBEDDING_MODELS)).spec
    assert (spec.model.task, spec.runtime.engine, spec.replicas) == (Task.EMBED, EngineName.AUTO, 1)
    assert spec.rollout.progress_deadline_seconds == 1800
    assert spec.cache.ttl_seconds == 86_400
    assert Autoscaling(max_replicas=3).metrics[0].type is MetricType.CPU_UTILIZATION


def test_defaults_are_not_written_into_a_manifest() -> None:
    manifest = minimal(EMBEDDING_MODELS)
    assert EmbeddingModel.model_validate(manifest).spec.manifest() == manifest["spec"]


def test_metadata_of_a_live_object_is_read() -> None:
    live = minimal(EMBEDDING_MODELS, "minilm")
    live["metadata"] |= {
        "namespace": "search",
        "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        "generation": 3,
        "resourceVersion": "123",
        "deletionTimestamp": "2026-01-31T12:00:00Z",
        "annotations": {"embedding-operator.io/paused": "true"},
    }
    metadata = EmbeddingModel.model_validate(live).metadata
    assert (metadata.namespace, metadata.generation, metadata.resource_version) == ("search", 3, "123")
    assert metadata.deletion_timestamp == "2026-01-31T12:00:00Z"
    assert metadata.annotations["embedding-operator.io/paused"] == "true"


@pytest.mark.parametrize("sources", [{}, {"image": {"reference": "a", "path": "/m"}, "http": {"url": "b", "sha256": "c"}}])
def test_a_source_is_exactly_one(sources: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of huggingFace, image, persistentVolumeClaim, http, openAI"):
        EmbeddingModelSpec.model_validate({"model": {"source": sources}})


def test_models_are_immutable() -> None:
    spec = EmbeddingModel.model_validate(minimal(EMBEDDING_MODELS)).spec
    with pytest.raises(ValidationError, match="frozen"):
        spec.replicas = 2  # type: ignore[misc] # the type checker sees it too


def test_python_names_build_the_same_object_as_wire_names() -> None:
    wire = {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-01-31T12:00:00Z"}
    built = Condition(type="Ready", status="True", reason="Serving", message="", last_transition_time="2026-01-31T12:00:00Z")
    assert built == Condition.model_validate(wire)
    assert built.manifest() == wire


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", "2"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("+1", "1"),
        ("-1", "-1"),
        ("4Gi", str(4 * 1024**3)),
        ("1Ki", "1024"),
        ("1k", "1000"),
        ("2M", "2000000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("3E", str(3 * 10**18)),
        ("100n", "0.0000001"),
        ("7u", "0.000007"),
    ],
)
def test_a_quantity_is_read_as_the_api_server_reads_it(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "4GB", "1K", "0x10", "1e", "--1", "٣"])
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="500m, 2 or 4Gi"):
        amount(text)


def test_a_number_in_yaml_is_the_same_quantity_as_its_text() -> None:
    def limits(value: Any) -> dict[str, str]:
        model = {"model": {"source": {"persistentVolumeClaim": {"claimName": "c"}}}}
        return EmbeddingModelSpec.model_validate(model | {"resources": {"limits": {"cpu": value}}}).resources.limits

    assert limits(2) == limits("2") == {"cpu": "2"}
    for wrong in (True, 0.5, "much"):
        with pytest.raises(ValidationError):
            limits(wrong)


@every_kind
@settings(max_examples=30, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_object_within_the_schema_survives_the_way_to_a_model_and_back(kind: Kind, data: st.DataObject) -> None:
    for part in ("spec", "status"):
        content = data.draw(objects(kind, part), label=part)
        whole = minimal(kind) | {part: content}
        assert getattr(kind.model.model_validate(whole), part).manifest() == content


@cache
def objects(kind: Kind, part: str) -> st.SearchStrategy[Any]:
    return anything(schema(kind)["properties"][part])


def anything(node: Schema) -> st.SearchStrategy[Any]:
    """Values that the structure of `node` admits; its rules, which only the API server evaluates, are not heeded."""
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return st.from_regex(r"[0-9]{1,6}(m|k|Mi|Gi)?", fullmatch=True)
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.booleans(), max_size=3)
    match node["type"]:
        case "integer":
            return st.integers(node["minimum"], node["maximum"])
        case "boolean":
            return st.booleans()
        case "string":
            least = node.get("minLength", 0)
            return st.text(min_size=least, max_size=min(node["maxLength"], least + 12))
        case "array":
            return st.lists(anything(node["items"]), min_size=node.get("minItems", 0), max_size=2)
    if "additionalProperties" in node:
        return st.dictionaries(st.text(max_size=8), anything(node["additionalProperties"]), max_size=2)
    return members(node)


def members(node: Schema) -> st.SearchStrategy[Any]:
    fields = {name: anything(child) for name, child in node["properties"].items()}
    if is_one_of(node):
        return st.one_of([st.fixed_dictionaries({name: field}) for name, field in fields.items()])
    required = node.get("required", [])
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )
