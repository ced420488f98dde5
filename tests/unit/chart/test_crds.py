"""The CRDs as the chart ships them."""

from __future__ import annotations

from typing import Any

import yaml

from unit.chart.rendering import CHART, of_kind, render

CRDS = CHART.parents[1] / "crds"
KIND = "CustomResourceDefinition"


def _by_name(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents}


def test_the_chart_carries_the_crds_of_the_repository() -> None:
    shipped = _by_name(of_kind(render(), KIND))
    generated = _by_name([yaml.safe_load(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))])
    assert len(generated) == 3
    assert {name: crd["spec"] for name, crd in shipped.items()} == {name: crd["spec"] for name, crd in generated.items()}
    assert all(generated[name]["metadata"]["labels"] == crd["metadata"]["labels"] for name, crd in shipped.items())


def test_uninstalling_keeps_the_crds_and_with_them_every_object() -> None:
    for crd in of_kind(render(), KIND):
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_somebody_else_may_bring_the_crds() -> None:
    assert of_kind(render("crds.enabled=false"), KIND) == []


def test_a_packaged_chart_needs_nothing_outside_of_itself() -> None:
    text = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    assert ".." not in text.replace("...", "")
    assert sorted(file.name for file in (CHART / "crds-files").iterdir()) == sorted(file.name for file in CRDS.iterdir())
