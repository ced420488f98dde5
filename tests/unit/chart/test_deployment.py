"""The operator's pod, and the settings that reach it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from embedding_operator import metrics
from embedding_operator.settings import OperatorSettings
from unit.chart.rendering import Manifest, of_kind, one, render

PREFIX = "EO_OPERATOR_"
FROM_THE_POD = {"EO_OPERATOR_NAMESPACE": "eo-system", "EO_OPERATOR_POD_NAME": "pod-0"}


def _pod(*values: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(render(*values), "Deployment")["spec"]["template"]["spec"]
    return spec


def _settings(monkeypatch: pytest.MonkeyPatch, *values: str) -> OperatorSettings:
    """What the operator reads in the rendered pod."""
    for entry in _pod(*values)["containers"][0]["env"]:
        monkeypatch.setenv(entry["name"], entry.get("value", FROM_THE_POD.get(entry["name"])))
    return OperatorSettings()


def test_every_variable_is_a_setting_that_the_operator_knows() -> None:
    names = {entry["name"] for entry in _pod()["containers"][0]["env"]}
    assert names <= {f"{PREFIX}{field.upper()}" for field in OperatorSettings.model_fields}


def test_the_defaults_of_the_chart_are_those_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = set(OperatorSettings.model_fields) - {"namespace", "pod_name", "lease_name", "admin_key_name", "serving_image"}
    given = _settings(monkeypatch)
    assert {name: getattr(given, name) for name in fields} == {
        name: OperatorSettings.model_fields[name].default for name in fields
    }


def test_values_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _settings(
        monkeypatch,
        'images={"operator":"r/o:1","serving":"r/s@sha256:ab","servingTorch":"r/t:1","pullPolicy":"Always"}',
        'watchNamespaces=["red","blue"]',
        'hub.endpoint="http://hub.internal"',
        'httpSources.allowedHosts=["files.internal"]',
        'logLevel="DEBUG"',
        "resyncSeconds=30.5",
        "concurrency=3",
    )
    assert given.serving_image == "r/s@sha256:ab"
    assert given.serving_torch_image == "r/t:1"
    assert given.image_pull_policy == "Always"
    assert given.watch_namespaces == ("red", "blue")
    assert given.hub_endpoint == "http://hub.internal"
    assert given.http_allowed_hosts == ("files.internal",)
    assert (given.log_level, given.resync_seconds, given.concurrency) == ("DEBUG", 30.5, 3)
    assert (given.namespace, given.pod_name, given.lease_name) == ("eo-system", "pod-0", "eo-embedding-operator")


def test_probes_and_ports_are_the_operators_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _settings(monkeypatch)
    container = _pod()["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": given.health_port, "metrics": given.metrics_port}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}


def test_the_pod_is_restricted() -> None:
    pod = _pod()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
    assert all("emptyDir" in volume for volume in pod["volumes"])


def test_scheduling_values_reach_the_pod() -> None:
    pod = _pod(
        'nodeSelector={"disk":"fast"}',
        'tolerations=[{"key":"infra","operator":"Exists"}]',
        'affinity={"nodeAffinity":{}}',
        'priorityClassName="system"',
        'images.pullSecrets=["registry"]',
    )
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert {"key": "infra", "operator": "Exists"} in pod["tolerations"]
    assert {item.get("tolerationSeconds") for item in pod["tolerations"]} == {10, None}, "a lost node is given up soon"
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["priorityClassName"] == "system"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_every_selector_finds_the_pods() -> None:
    manifests = render('metrics.serviceMonitor={"enabled":true}')
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors: list[Manifest] = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "Service")["spec"]["selector"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    monitored = one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= one(manifests, "Service")["metadata"]["labels"].items()


def test_alerts_are_on_metrics_that_the_operator_has() -> None:
    assert of_kind(render(), "PrometheusRule") == []
    rule = one(render('metrics.prometheusRule={"enabled":true,"labels":{"release":"monitoring"}}'), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "monitoring"
    known = {next(iter(metric.describe())).name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)}
    alerts = rule["spec"]["groups"][0]["rules"]
    assert {alert["alert"] for alert in alerts} >= {"VectorIndexRebuildStalled", "VectorIndexSwitchCalledOff"}
    for alert in alerts:
        named = re.findall(r"embedding_\w+", alert["expr"])
        assert named
        assert {name.removesuffix("_total") for name in named} <= known


def test_a_single_replica_blocks_no_drain() -> None:
    assert of_kind(render("replicas=1"), "PodDisruptionBudget") == []


def test_two_releases_share_no_name() -> None:
    def names(release: str, namespace: str) -> set[tuple[str, str, str]]:
        manifests = render("crds.enabled=false", release=release, namespace=namespace)
        return {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]) for m in manifests}

    assert not names("one", "here") & names("two", "here")
    assert not names("one", "here") & names("one", "there")
