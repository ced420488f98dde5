"""What the chart renders, whole. A change of it is meant: `EO_UPDATE_GOLDEN=1 pytest tests/unit/chart` writes it down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from unit.chart.rendering import render

GOLDEN = Path(__file__).with_name("golden")
CASES = {
    "default": (),
    "namespaced": ('watchNamespaces=["red","blue"]', "replicas=1", 'metrics.serviceMonitor={"enabled":true}'),
}


@pytest.mark.parametrize("name", CASES)
def test_the_chart_renders_as_written_down(name: str) -> None:
    rendered = yaml.safe_dump_all(render("crds.enabled=false", *CASES[name]), sort_keys=False)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("EO_UPDATE_GOLDEN"):
        file.write_text(rendered)
    assert rendered == file.read_text()
