"""Values that are wrong are refused before anything is installed, and the answer names them."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from unit.chart.rendering import CHART, RenderError, helm, render

REFUSED = {
    "replica=3": "replica",
    'replicas="two"': "/replicas",
    "replicas=-1": "/replicas",
    'logLevel="info"': "/logLevel",
    'watchNamespaces="red"': "/watchNamespaces",
    'watchNamespaces=["Red"]': "/watchNamespaces/0",
    'watchNamespaces=["red","red"]': "/watchNamespaces",
    'images.operator=""': "/images/operator",
    'images.pullPolicy="Sometimes"': "/images/pullPolicy",
    'images.tag="1"': "tag",
    'hub.endpoint="hub.internal"': "/hub/endpoint",
    'httpSources.allowedHosts=["https://files.internal/"]': "/httpSources/allowedHosts/0",
    'metrics.serviceMonitor.interval="soon"': "/metrics/serviceMonitor/interval",
    'metrics.prometheusRule.enabled="yes"': "/metrics/prometheusRule/enabled",
    "resyncSeconds=0": "/resyncSeconds",
    'resources={"limit":{"memory":"1Gi"}}': "limit",
}


@pytest.mark.parametrize("value", REFUSED)
def test_a_wrong_value_is_refused_by_name(value: str) -> None:
    with pytest.raises(RenderError, match=re.escape(REFUSED[value])):
        render(value)


def test_every_value_is_in_the_schema_and_no_object_of_it_is_open() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    helms_own = {"global", "nameOverride", "fullnameOverride"}
    assert set(schema["properties"]) - helms_own == set(values)
    assert schema["additionalProperties"] is False


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(RenderError, match=re.escape(">=1.31")):
        helm("template", "eo", str(CHART), "--kube-version", "1.28.0")


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", "--kube-version", "1.34.0", str(CHART))
