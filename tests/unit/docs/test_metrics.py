"""docs/metrics.md and docs/scaling.md name every metric, and none that is not there."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from embedding_operator.api.autoscaling import MetricType
from embedding_operator.build.embedding_model import METRIC_NAMES
from embedding_serving.contract.admin import BuildState, FollowerState, IndexState, Mode, Role, ShardInfo, SourceState
from embedding_serving.contract.index import IndexType
from embedding_serving.gateway.metrics import Metrics as GatewayMetrics
from embedding_serving.shard.metrics import Metrics as ShardMetrics
from unit.docs.pages import FOR_USERS, ROOT, page
from unit.docs.sources import arguments

EMBED = [ROOT / "serving" / "embedding_serving" / "embed" / name for name in ("metrics.py", "gpu_metrics.py")]
OPERATOR = [ROOT / "operator" / "embedding_operator" / "metrics.py"]
MAKERS = ("Counter", "Gauge", "Histogram", "GaugeMetricFamily", "_gauge")
METRIC = re.compile(r"\b(?:embedding|gateway|shard)_[a-z0-9]+_[a-z0-9_]+\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def names(files: Iterable[Path]) -> set[str]:
    return {name for maker in MAKERS for name in arguments([*files], maker, 0)}


def listed(heading: str) -> set[str]:
    return {row[0].strip("`") for row in page("metrics.md").rows(heading)}


def test_every_metric_of_embed_is_listed() -> None:
    assert listed("Embed pods") == names(EMBED)


def gateway() -> CollectorRegistry:
    return GatewayMetrics().registry


def shard() -> CollectorRegistry:
    """Of a shard that has everything a metric tells of."""
    metrics = ShardMetrics()
    info = ShardInfo(
        pod="docs-g1-s0-0",
        role=Role.WRITER,
        generation=1,
        shard=0,
        shards=1,
        fingerprint="f",
        dimensions=1,
        history="h",
        epoch=1,
        mode=Mode.OPEN,
        ready=True,
        position=1,
        digest="d",
        documents=1,
        tombstones=0,
        bytes=1,
        free_bytes=1,
        sources=(SourceState(shard=0, history="h", host="h", cursor=1, behind=0),),
        followers=(FollowerState(consumer="c", position=1),),
        build=BuildState(rows=1),
        index=IndexState(type=IndexType.FLAT, covered=1, depth=1, recall=1.0, bytes=1),
    )
    metrics.watch(lambda: info)
    metrics.watch_connections(lambda: 0, lambda: 0)
    return metrics.registry


def registered(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Names as Prometheus has them, with their labels as far as there are samples."""
    found = {}
    for family in registry.collect():
        if not family.name.startswith("process_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found


@pytest.mark.parametrize(("heading", "registry"), [("Gateway pods", gateway()), ("Shard pods", shard())])
def test_every_metric_of_shards_and_gateways_is_listed_with_its_labels(heading: str, registry: CollectorRegistry) -> None:
    known = registered(registry)
    rows = page("metrics.md").rows(heading)
    assert {row[0].strip("`") for row in rows} == known.keys()
    for name, kind, _ in rows:
        assert known[name.strip("`")] <= set(re.findall(r"`(\w+)`", kind)), name


def test_every_metric_of_the_operator_is_listed() -> None:
    assert listed("Operator") == names(OPERATOR)


def test_a_metric_that_a_page_names_is_one() -> None:
    known = names([*EMBED, *OPERATOR]) | set(METRIC_NAMES.values()) | registered(gateway()).keys() | registered(shard()).keys()
    for written in FOR_USERS:
        found = {re.sub(f"({'|'.join(SUFFIXES)})$", "", name) for name in METRIC.findall(written.text)}
        assert found <= known, f"{written}: {found - known}"


def test_the_names_that_an_adapter_must_serve_are_those_of_the_autoscaler() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in page("scaling.md").rows("Other metrics")}
    own = {metric.value for metric in MetricType} - {MetricType.CPU_UTILIZATION.value}
    assert set(told) == own
    assert {kind.value: name for kind, name in METRIC_NAMES.items()}.items() <= told.items()
