"""Every manifest of ours on a page is one that the API takes, and every field and value named there exists."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from embedding_operator.api import EMBEDDING_MODELS, GROUP, KINDS, EmbeddingModel
from embedding_operator.build.embedding_model import revision_of
from embedding_operator.crd import schema
from embedding_operator.structural import Schema
from unit.docs.pages import FOR_USERS, README, ROOT, WRITTEN, Page

HEREDOC = re.compile(r"<<EOF\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)
VALUES = yaml.safe_load((ROOT / "charts" / "embedding-operator" / "values.yaml").read_text())
MODELS = {kind.kind: kind.model for kind in KINDS}


def manifests(page: Page) -> Iterator[dict[str, Any]]:
    texts = [*page.blocks("yaml"), *(text for block in page.blocks("sh", "console") for text in HEREDOC.findall(block))]
    for text in texts:
        yield from (found for found in yaml.safe_load_all(text) if found)


@pytest.mark.parametrize("page", WRITTEN, ids=str)
def test_a_manifest_of_ours_is_valid(page: Page) -> None:
    for manifest in manifests(page):
        if str(manifest.get("apiVersion", "")).startswith(f"{GROUP}/"):
            MODELS[manifest["kind"]].model_validate(manifest)


def test_the_pages_have_manifests_to_check() -> None:
    ours = [m for page in WRITTEN for m in manifests(page) if str(m.get("apiVersion", "")).startswith(f"{GROUP}/")]
    assert len(ours) >= 5


def test_the_readme_shows_the_revision_of_its_own_manifest() -> None:
    (manifest,) = [found for found in manifests(README) if found["kind"] == "EmbeddingModel"]
    revision = revision_of(EmbeddingModel.model_validate(manifest).spec.model)
    (shown,) = re.findall(rf"^{manifest['metadata']['name']} +True +True +(\w+)", README.text, re.MULTILINE)
    assert shown == revision


@pytest.mark.parametrize("page", WRITTEN, ids=str)
def test_a_value_of_the_chart_exists(page: Page) -> None:
    commands = "\n".join(page.blocks("sh", "console"))
    named = set(re.findall(r"--set(?:-json|-string)? '?([\w.]+)=", commands))
    named |= {
        word.split("=")[0] for word in page.code() if word.split(".")[0] in VALUES and "/" not in word and " " not in word
    }
    named -= {word for word in named if word in EM_MEMBERS}
    for name in sorted(named):
        assert _has(VALUES, name), f"{page}: the chart has no value {name}"


@pytest.mark.parametrize("page", FOR_USERS, ids=str)
def test_a_field_of_a_kind_exists(page: Page) -> None:
    for word in page.code():
        if path := re.match(r"(?:spec|status)\.[A-Za-z.]+[A-Za-z]", word):
            assert any(_in_schema(schema(kind), path[0].split(".")) for kind in KINDS), f"{page}: no field {path[0]}"


def test_a_missing_field_and_a_missing_value_are_noticed() -> None:
    assert not _in_schema(schema(EMBEDDING_MODELS), ["spec", "model", "nothing"])
    assert not _has(VALUES, "images.nothing")


EM_MEMBERS = set(schema(EMBEDDING_MODELS)["properties"]["spec"]["properties"])
"""Names that stand alone on a page mean the spec of a model where both have them, such as `replicas`."""


def _has(values: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _in_schema(node: Schema, path: list[str]) -> bool:
    for part in path:
        node = node.get("items", node)
        if "properties" not in node:
            return bool(node.get("additionalProperties"))
        if part not in node["properties"]:
            return False
        node = node["properties"][part]
    return True
