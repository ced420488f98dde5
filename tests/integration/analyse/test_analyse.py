"""The real role between two real generations: shards and encoders as processes, numbers in the termination message."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedding_serving.contract.index import IndexOptions, IndexType
from embedding_serving.contract.reports import AnalysisReport, Outcome, Report
from embedding_serving.contract.route import GenerationRoute
from embedding_serving.contract.settings import AnalyseSettings, Check, to_env
from integration.embed.server import EmbedServer, Prepared
from integration.gateway.world import Client, Generation, free_port, gateway, generation, mount, route_of, start, vectors
from integration.shard.shard_process import NAMESPACE, Operator, until

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
ROWS, WIDE = 10_400, 64
"""More rows than are scanned anyway."""
Vectors = NDArray[np.float32]


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


@contextlib.contextmanager
def analysing(
    work: Path, blue: GenerationRoute, green: GenerationRoute, checks: Sequence[Check], golden: str = "", **changes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """The pod's process; its log and report in `work`."""
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
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def analysed(work: Path, *args: Any, **kwargs: Any) -> tuple[int, str]:
    """Exit code and termination message."""
    with analysing(work, *args, **kwargs) as process:
        code = process.wait(LIMIT_SECONDS)
    assert (work / "report").exists(), (work / "log").read_text()
    return code, (work / "report").read_text()


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


def test_lines_that_say_nothing_are_named_and_the_others_measured(
    blue: GenerationRoute, green: GenerationRoute, tmp_path: Path
) -> None:
    lines = [
        json.dumps({"query": TOPICS["cat"], "ids": ["cat"]}),
        "{not json",
        json.dumps({"query": "a", "ids": ["nobody"]}),
        json.dumps({"query": "a", "ids": []}),
        json.dumps({"vector": [1.0], "ids": ["cat"]}),
        json.dumps({"query": "a", "ids": ["cat"], "top": 3}),
        "",
        json.dumps({"query": TOPICS["tax"], "ids": ["tax"], "filter": {"must": [{"key": "n", "match": {"value": 1}}]}}),
        json.dumps({"query": "a", "ids": ["cat"], "filter": {"must": "everything"}}),
    ]
    report = measured(tmp_path, blue, green, [Check.GOLDEN], "\n".join(lines))
    faulty = {fault.partition(":")[0] for fault in report.golden_faults}
    assert faulty <= {f"line {number}" for number in (2, 3, 4, 5, 6, 9)}
    assert len(faulty) == 5
    assert (report.golden_queries, report.golden_hit) == (2, 0.5)
    assert report.golden_missed == ("line 8: 'tax' is not among the first 10",)
    assert (report.recall, report.overlap, report.latency_increase_percent, report.queries) == (None, None, None, 0)


def test_a_document_that_does_not_exist_is_no_fault_of_the_model(
    blue: GenerationRoute, green: GenerationRoute, tmp_path: Path
) -> None:
    line = json.dumps({"query": "a", "ids": ["nobody"]})
    report = measured(tmp_path, blue, green, [Check.GOLDEN], line)
    assert report.golden_faults == ("line 1: there is no document 'nobody'",)
    assert report.golden_hit is None


def test_a_generation_that_is_not_open_yet_is_read(blue: GenerationRoute, operator: Operator, tmp_path: Path) -> None:
    made = generation(
        tmp_path, operator, number=2, fingerprint=blue.fingerprint, dimensions=384, encoder=blue.encoder, text_required=True
    )
    try:
        for pod in made.all:
            pod.start()
        for pod in made.all:
            pod.await_ready()
        report = measured(tmp_path / "new", blue, made.route(), [Check.RECALL])
    finally:
        for pod in made.all:
            pod.stop()
    assert (report.queries, report.documents, report.active_documents) == (len(TOPICS), 0, len(TOPICS))
    assert report.recall is None


def test_a_shard_that_is_down_is_named_and_nothing_is_reported(
    blue: GenerationRoute, green: GenerationRoute, tmp_path: Path
) -> None:
    lost = green.model_copy(update={"hosts": (green.hosts[0], f"127.0.0.1:{free_port()}")})
    code, text = analysed(tmp_path, blue, lost, [Check.RECALL], timeout_seconds=1.0)
    assert code == 1
    assert AnalysisReport.parse(text) is None
    report = Report.parse(text)
    assert report is not None
    assert report.outcome is Outcome.UNAVAILABLE
    assert report.message.startswith("generation 2: shard 1")


def test_a_model_that_does_not_answer_is_named(blue: GenerationRoute, green: GenerationRoute, tmp_path: Path) -> None:
    away = green.model_copy(update={"encoder": f"http://127.0.0.1:{free_port()}"})
    code, text = analysed(tmp_path, blue, away, [Check.RECALL], timeout_seconds=1.0)
    report = Report.parse(text)
    assert code == 1
    assert report is not None
    assert report.message.startswith("generation 2: no encoder of model-2 answered")


def test_a_pod_that_is_told_to_stop_does(blue: GenerationRoute, green: GenerationRoute, tmp_path: Path) -> None:
    away = green.model_copy(update={"encoder": f"http://127.0.0.1:{free_port()}"})
    with analysing(tmp_path, blue, away, [Check.RECALL], timeout_seconds=LIMIT_SECONDS) as process:
        until(lambda: '"comparing"' in (tmp_path / "log").read_text(), "it began")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_SECONDS / 2) == 1
    report = Report.parse((tmp_path / "report").read_text())
    assert report is not None
    assert "told to stop" in report.message


def test_recall_is_what_the_index_finds_of_the_true_neighbours(operator: Operator, tmp_path: Path) -> None:
    """Of an index that looks into one of its 32 lists, against a comparison made here."""
    options = IndexOptions(type=IndexType.IVF_FLAT, lists=32, target_recall_percent=1)
    space: dict[str, Any] = {"dimensions": WIDE, "fingerprint": f"client-{WIDE}-cosine"}
    made = generation(tmp_path, operator, number=2, index_options=options, **space)
    known = vectors(ROWS, seed=5, dimensions=WIDE)
    written = [
        {"id": f"d{number}", "vector": b64encode(vector.tobytes()).decode(), "fingerprint": made.fingerprint}
        for number, vector in enumerate(known)
    ]
    with filled(tmp_path, operator, made, written):
        await_index(made, IndexType.IVF_FLAT)
        report = measured(tmp_path / "new", made.route(), made.route(), [Check.RECALL, Check.OVERLAP], sample_size=500)
        expected = recall_of(made, operator, tmp_path, known, np.random.default_rng(6).choice(ROWS, 500, replace=False))
    assert report.queries == 500
    assert report.overlap == 1.0
    assert report.recall is not None
    assert 0.1 < expected < 0.9
    assert report.recall == pytest.approx(expected, abs=0.06)


def await_index(made: Generation, type_: IndexType) -> None:
    """A build takes its time where others build too."""
    (writer,) = made.all
    deadline = time.monotonic() + LIMIT_SECONDS
    while (index := writer.info().index) is None or index.type != type_:
        assert time.monotonic() < deadline, writer.info()
        time.sleep(0.1)


def recall_of(made: Generation, operator: Operator, work: Path, known: Vectors, sampled: NDArray[np.int64]) -> float:
    """Through a gateway, against all inner products."""
    entry = gateway(work / "reading", operator)
    mount(entry, route_of(made))
    entry.start()
    shares = []
    try:
        with Client(entry.await_ready()) as client:
            for number in sampled.tolist():
                query = b64encode(known[number].tobytes()).decode()
                found = client.ids({"vector": query, "fingerprint": made.fingerprint, "k": 10})
                true = {f"d{row}" for row in np.argsort(-(known @ known[number]))[:10].tolist()}
                shares.append(len(true & set(found)) / 10)
    finally:
        entry.kill()
    return float(np.mean(shares))
