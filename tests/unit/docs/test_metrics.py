"""docs/metrics.md and docs/scaling.md name every metric, and none that is not there."""

import re
from collections.abc import Iterable
from pathlib import Path

from embedding_operator.api.autoscaling import MetricType
from embedding_operator.build.embedding_model import METRIC_NAMES
from unit.docs.pages import FOR_USERS, ROOT, page
from unit.docs.sources import arguments

EMBED = [ROOT / "serving" / "embedding_serving" / "embed" / name for name in ("metrics.py", "gpu_metrics.py")]
OPERATOR = [ROOT / "operator" / "embedding_operator" / "metrics.py"]
MAKERS = ("Counter", "Gauge", "Histogram", "GaugeMetricFamily", "_gauge")
METRIC = re.compile(r"\bembedding_[a-z0-9_]+\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def names(files: Iterable[Path]) -> set[str]:
    return {name for maker in MAKERS for name in arguments([*files], maker, 0)}


def listed(heading: str) -> set[str]:
    return {row[0].strip("`") for row in page("metrics.md").rows(heading)}


def test_every_metric_of_embed_is_listed() -> None:
    assert listed("Embed pods") == names(EMBED)


def test_every_metric_of_the_operator_is_listed() -> None:
    assert listed("Operator") == names(OPERATOR)


def test_a_metric_that_a_page_names_is_one() -> None:
    known = names([*EMBED, *OPERATOR]) | set(METRIC_NAMES.values())
    for written in FOR_USERS:
        found = {re.sub(f"({'|'.join(SUFFIXES)})$", "", name) for name in METRIC.findall(written.text)}
        assert found <= known, f"{written}: {found - known}"


def test_the_names_that_an_adapter_must_serve_are_those_of_the_autoscaler() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in page("scaling.md").rows("Other metrics")}
    own = {metric.value for metric in MetricType} - {MetricType.CPU_UTILIZATION.value}
    assert set(told) == own
    assert {kind.value: name for kind, name in METRIC_NAMES.items()}.items() <= told.items()
