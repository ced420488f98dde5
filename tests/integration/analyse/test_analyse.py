"""The real role between two real generations: shards and encoders as processes, numbers in the termination message."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from embedding_serving.contract.reports import AnalysisReport
from embedding_serving.contract.route import GenerationRoute
from embedding_serving.contract.settings import AnalyseSettings, Check, to_env
from integration.embed.server import EmbedServer, Prepared
from integration.gateway.world import Client, Generation, gateway, generation, mount, route_of, start
from integration.shard.shard_process import NAMESPACE, Operator

TOPICS = {
    "cat": "The kitten curled up on the warm blanket and purred.",
    "bread": "Knead the dough and let it rise before you bake the loaf.",
    "orbit": "The satellite circles the planet every ninety minutes.",
    "tax": "The authority sends back what was paid too much in income tax.",
    "rain": "Heavy showers are expected in the north tomorrow.",
    "goal": "The striker scored twice in the last ten minutes of the match.",
    "heart": "The surgeon replaced a valve of the patient's heart.",
    "train": "The express leaves platform four at a quarter past nine.",
    "paint": "She mixed blue and yellow on the canvas to get a green.",
    "court": "The judge found the accused not guilty.",
    "bee": "Insects carry pollen from one blossom to the next.",
    "code": "The compiler reports an error where a bracket is missing.",
    "ship": "The freighter unloaded its containers in the harbour.",
    "song": "The choir rehearsed the hymn for the service on Sunday.",
    "lens": "The photographer set a longer exposure for the night sky.",
    "farm": "The harvest of wheat was poor after the dry spring.",
}
QUESTIONS = {
    "cat": "a sleeping pet animal",
    "bread": "recipe for baking",
    "orbit": "spacecraft around the earth",
    "tax": "refund from the revenue office",
    "rain": "weather forecast",
    "goal": "football result",
    "heart": "operation in a hospital",
    "train": "railway departure time",
    "court": "verdict of a trial",
    "code": "programming syntax mistake",
    "ship": "cargo at the port",
    "song": "church music",
}
LIMIT_SECONDS = 120


@contextlib.contextmanager
def filled(work: Path, operator: Operator, made: Generation, documents: Sequence[dict[str, Any]]) -> Iterator[Generation]:
    """A generation that runs and holds these documents; its gateway is gone again."""
    entry = gateway(work / f"gateway-{made.number}", operator)
    try:
        start(made)
        mount(entry, route_of(made))
        entry.start()
        with Client(entry.await_ready()) as client:
            for first in range(0, len(documents), 250):
                client.put(documents[first : first + 250])
        entry.kill()
        yield made
    finally:
        entry.kill()
        for pod in made.all:
            pod.stop()


def with_model(work: Path, operator: Operator, number: int, shards: int, model: tuple[Prepared, EmbedServer]) -> Generation:
    prepared, server = model
    made = generation(
        work, operator, number=number, shards=shards, fingerprint=prepared.fingerprint, dimensions=384,
        encoder=server.url, text_required=True,
    )  # fmt: skip
    made.model, made.revision = f"model-{number}", "1a2b3c4d"
    return made


def analysed(
    work: Path, blue: GenerationRoute, green: GenerationRoute, checks: Sequence[Check], golden: str = "", **changes: Any
) -> tuple[int, str]:
    """Exit code and termination message."""
    work.mkdir(exist_ok=True)
    (work / "queries.jsonl").write_text(golden)
    values: dict[str, Any] = {
        "pod": "docs-g2-analysis",
        "namespace": NAMESPACE,
        "index": "docs",
        "blue": blue,
        "green": green,
        "checks": tuple(checks),
        "golden_path": str(work / "queries.jsonl"),
        "termination_path": str(work / "report"),
    }
    settings = AnalyseSettings.model_validate(values | changes)
    env = {name: value for name, value in os.environ.items() if not name.startswith("EO_")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)} | to_env(settings)
    command = [sys.executable, "-m", "embedding_serving", "analyse"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    (work / "log").write_text(run.stdout + run.stderr)
    report = Path(settings.termination_path)
    assert report.exists(), run.stderr
    return run.returncode, report.read_text()


def measured(*args: Any, **kwargs: Any) -> AnalysisReport:
    code, text = analysed(*args, **kwargs)
    assert code == 0, text
    report = AnalysisReport.parse(text)
    assert report is not None, text
    return report


@pytest.fixture(scope="module")
def texts() -> list[dict[str, Any]]:
    return [{"id": id_, "text": text} for id_, text in TOPICS.items()]


@pytest.fixture(scope="module")
def blue(
    operator: Operator,
    good: tuple[Prepared, EmbedServer],
    texts: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GenerationRoute]:
    work = tmp_path_factory.mktemp("blue")
    with filled(work, operator, with_model(work, operator, 1, 1, good), texts) as made:
        yield made.route()


@pytest.fixture(scope="module")
def green(
    operator: Operator,
    worse: tuple[Prepared, EmbedServer],
    texts: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GenerationRoute]:
    """Of the worse model, and of two shards."""
    work = tmp_path_factory.mktemp("green")
    with filled(work, operator, with_model(work, operator, 2, 2, worse), texts) as made:
        yield made.route()


def golden(**changes: Any) -> str:
    return "\n".join(json.dumps({"query": query, "ids": [id_], "k": 2} | changes) for id_, query in QUESTIONS.items())


def test_a_worse_model_is_found_worse_by_golden_queries(blue: GenerationRoute, green: GenerationRoute, tmp_path: Path) -> None:
    new = measured(tmp_path / "new", blue, green, list(Check), golden())
    old = measured(tmp_path / "old", green, blue, [Check.GOLDEN], golden())
    assert old.golden_hit == 1.0
    assert new.golden_hit is not None
    assert new.golden_hit < 0.6
    assert len(new.golden_missed) == 5
    assert (new.golden_queries, new.golden_faults) == (len(QUESTIONS), ())
    assert (new.generation, new.documents, new.active_documents) == (2, len(TOPICS), len(TOPICS))
    assert new.queries == len(TOPICS)
    assert new.recall == 1.0
    assert new.overlap is not None
    assert 0.0 < new.overlap < 1.0
    assert new.latency_increase_percent is not None
