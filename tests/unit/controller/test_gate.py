"""The gate before a new generation serves: what is measured, how numbers are judged, and what keeps it from either."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedding_operator.api import VectorIndex
from embedding_operator.api.rebuild import PrePromotionAnalysis
from embedding_operator.build import names
from embedding_operator.build import vector_index as build_index
from embedding_operator.plan.gate import RETRY_AFTER, Gate, analysis
from embedding_operator.plan.judgement import judge
from embedding_operator.plan.model import Children
from embedding_operator.plan.snapshot import IndexSnapshot, RouteRecord
from embedding_operator.resources import JOB, NETWORK_POLICY, Manifest
from embedding_serving.contract.admin import Mode, Role, ShardInfo
from embedding_serving.contract.reports import AnalysisReport, Outcome, Report
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Route
from embedding_serving.contract.settings import AnalyseSettings, Check
from fixtures.controller import INSTALLATION
from fixtures.kube import vector_index

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GOOD = AnalysisReport(
    generation=2, queries=200, documents=10, active_documents=10, recall=0.98, overlap=0.7, latency_increase_percent=4.0,
    golden_queries=20, golden_hit=1.0,
)  # fmt: skip
GOLDEN = {"configMapRef": {"name": "questions"}, "minHitPercent": 90}


def bounds(**given: Any) -> PrePromotionAnalysis:
    return PrePromotionAnalysis.model_validate(given)


# --- the judge ---


@pytest.mark.parametrize(
    ("given", "report", "failed", "expected"),
    [
        ({}, {}, 0, None),
        ({}, {"recall": 0.95}, 0, None),
        ({}, {"recall": 0.931}, 0, "recall 0.931 is below .*minRecallPercent 95: raise spec.index.targetRecallPercent"),
        ({"minRecallPercent": 29}, {"recall": 0.29}, 0, None),
        ({"minRecallPercent": 0}, {"recall": 0.1}, 0, None),
        ({}, {"recall": None}, 0, "recall could not be measured: generation 2 has 10 documents, 200 queries"),
        ({}, {"recall": None, "active_documents": 0}, 0, None),
        ({}, {"overlap": 0.1}, 0, None),
        ({"minOverlapPercent": 60}, {"overlap": 0.6}, 0, None),
        ({"minOverlapPercent": 60}, {"overlap": 0.599}, 0, "overlap 0.599 is below .*minOverlapPercent 60: compare"),
        ({"minOverlapPercent": 60}, {"overlap": None}, 0, "overlap could not be measured"),
        ({}, {"latency_increase_percent": 900.0}, 0, None),
        ({"maxLatencyIncreasePercent": 20}, {"latency_increase_percent": 20.0}, 0, None),
        ({"maxLatencyIncreasePercent": 0}, {"latency_increase_percent": -3.0}, 0, None),
        (
            {"maxLatencyIncreasePercent": 20},
            {"latency_increase_percent": 20.1},
            0,
            "take 20.1% longer, .*Percent is 20: give",
        ),
        ({}, {"golden_hit": 0.1}, 0, None),
        ({"goldenQueries": GOLDEN}, {"golden_hit": 0.9}, 0, None),
        (
            {"goldenQueries": GOLDEN},
            {"golden_hit": 0.85, "golden_missed": ("line 3: 'd7' is not among the first 10",)},
            0,
            r"0.850 of the golden queries .*\(line 3: 'd7' is not among the first 10\), below .*minHitPercent 90: name another",
        ),
        ({}, {}, 1, "1 documents could not be embedded, .*maxFailedDocuments is 0: mend or delete"),
        ({"maxFailedDocuments": 5}, {}, 5, None),
        ({"maxFailedDocuments": 5}, {}, 6, "6 documents could not be embedded"),
    ],
)
def test_the_judge(given: dict[str, Any], report: dict[str, Any], failed: int, expected: str | None) -> None:
    verdict = judge(bounds(**given), GOOD.model_copy(update=report), failed)
    assert verdict.passed == (expected is None), verdict.message
    if expected is None:
        assert "retry" not in verdict.message
    else:
        assert re.search(expected, verdict.message), verdict.message
        assert verdict.message.endswith("; then annotate embedding-operator.io/retry=2")


def test_every_bound_that_is_not_kept_is_told_and_the_numbers_with_it() -> None:
    given = bounds(minRecallPercent=99, minOverlapPercent=80)
    verdict = judge(given, GOOD, 0)
    assert "minRecallPercent 99" in verdict.message
    assert "minOverlapPercent 80" in verdict.message
    told = (verdict.recall, verdict.overlap, verdict.golden_hit, verdict.latency_increase_percent)
    assert told == (GOOD.recall, GOOD.overlap, GOOD.golden_hit, GOOD.latency_increase_percent)
    passed = judge(bounds(), GOOD, 0).message
    assert passed == "recall 0.980, overlap 0.700, latency +4.0%, over 200 queries, 1.000 of 20 golden queries"


# --- the gate ---


def generation(index: VectorIndex, number: int) -> GenerationRoute:
    record = build_index.GenerationRecord(
        generation=number, shards=number, fingerprint=f"fp{number}", dimensions=8, distance="Cosine", model=f"m{number}",
        revision="1a2b3c4d",
    )  # fmt: skip
    return build_index.generation_route(index, record)


def info(number: int, shard: int, **said: Any) -> ShardInfo:
    values: dict[str, Any] = {
        "pod": f"docs-g{number}-s{shard}-0", "role": Role.WRITER, "generation": number, "shard": shard, "shards": number,
        "fingerprint": f"fp{number}", "dimensions": 8, "history": "h", "epoch": 1, "mode": Mode.OPEN, "ready": True,
        "position": 5, "digest": "0", "documents": 5, "tombstones": 0, "bytes": 1, "free_bytes": 1,
    }  # fmt: skip
    return ShardInfo(**(values | said))


def world(phase: Phase = Phase.BUILDING, golden: Manifest | None = None, **given: Any) -> tuple[IndexSnapshot, Route]:
    """Generation 1 of one shard serves, generation 2 of two is built."""
    index = VectorIndex.model_validate(vector_index(rebuild={"prePromotionAnalysis": given}))
    route = Route(
        index="docs", namespace=index.metadata.namespace, seq=3, epoch=1, phase=phase, writer=1, other=2, weights={1: 100},
        next_generation=3, generations=(generation(index, 1), generation(index, 2)),
    )  # fmt: skip
    snapshot = IndexSnapshot(
        index=index, metadata=index.metadata, status={}, children=Children(), at=INSTALLATION, now=NOW, encoders={},
        route=RouteRecord({}, route), pods=(), claims=(), golden_queries=golden,
        infos={one.pod: one for one in (info(1, 0), info(2, 0), info(2, 1))},
    )  # fmt: skip
    return snapshot, route


def questions(**data: str) -> Manifest:
    return {"metadata": {"name": "questions"}, "data": data or {"queries.jsonl": '{"query": "a", "ids": ["b"]}'}}


def job_of(gate: Gate) -> Manifest:
    (found,) = (intent.manifest for intent in gate.intents if intent.resource == JOB)
    return found


def with_job(s: IndexSnapshot, route: Route, *pods: Manifest, **status: Any) -> IndexSnapshot:
    """Its Job stands, with these pods."""
    job = job_of(analysis(s, route))
    owners = [{"controller": True, "kind": "Job", "name": job["metadata"]["name"]}]
    owned = tuple(pod | {"metadata": pod["metadata"] | {"ownerReferences": owners}} for pod in pods)
    children = Children({(JOB, job["metadata"]["name"]): job | {"status": status}})
    return replace(s, children=children, analysis_pods=owned)


def ended(message: str, code: int = 0, name: str = "a", phase: str = "") -> Manifest:
    state = {"terminated": {"exitCode": code, "message": message, "reason": "Error" if code else "Completed"}}
    status = {"phase": phase or ("Failed" if code else "Succeeded"), "containerStatuses": [{"name": "analyse", "state": state}]}
    return {"metadata": {"name": name, "creationTimestamp": name}, "status": status}


def finished(how: str, ago: timedelta = timedelta()) -> dict[str, Any]:
    when = (NOW - ago).isoformat().replace("+00:00", "Z")
    return {"conditions": [{"type": how, "status": "True", "lastTransitionTime": when, "reason": "BackoffLimitExceeded"}]}


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.BUILDING])
def test_only_a_generation_that_is_being_built_is_judged(phase: Phase) -> None:
    assert analysis(*world(phase)) == Gate()


def test_a_verdict_on_record_stands() -> None:
    s, route = world()
    rebuild = Rebuild(id="r", generation=2, input_hash="h")
    assert analysis(s, route.model_copy(update={"rebuild": rebuild})).intents
    judged = rebuild.model_copy(update={"verdict": judge(bounds(), GOOD, 0)})
    assert analysis(s, route.model_copy(update={"rebuild": judged})) == Gate()


def test_without_bounds_there_is_no_job() -> None:
    gate = analysis(*world(minRecallPercent=0))
    assert (gate.intents, gate.finding) == ((), None)
    assert gate.verdict is not None
    assert gate.verdict.passed


def test_documents_that_failed_are_judged_without_a_job_too() -> None:
    s, route = world(minRecallPercent=0)
    s = replace(s, infos=dict(s.infos) | {"docs-g2-s1-0": info(2, 1, failed_documents=3)})
    gate = analysis(s, route)
    assert gate.verdict is not None
    assert not gate.verdict.passed
    assert gate.verdict.message.startswith("3 documents could not be embedded")


def test_an_empty_index_passes_and_one_that_does_not_answer_is_not_taken_for_empty() -> None:
    s, route = world()
    empty = replace(s, infos={"docs-g1-s0-0": info(1, 0, documents=0)})
    gate = analysis(empty, route)
    assert gate.intents == ()
    assert gate.verdict is not None
    assert gate.verdict.passed
    assert analysis(replace(s, infos={}), route).verdict is None


def test_the_job_and_the_policy_of_its_pod() -> None:
    s, route = world(sampleSize=7, minOverlapPercent=50)
    gate = analysis(s, route)
    assert (gate.verdict, gate.finding) == (None, None)
    assert [intent.resource for intent in gate.intents] == [NETWORK_POLICY, JOB]
    job = job_of(gate)
    assert re.fullmatch(r"docs-g2-analysis-[0-9a-f]{5}", job["metadata"]["name"])
    labels = job["spec"]["template"]["metadata"]["labels"]
    policy = gate.intents[0].manifest["spec"]
    assert labels.items() >= policy["podSelector"]["matchLabels"].items()
    assert policy["ingress"] == []
    admitted = build_index.network_policy(s.index, INSTALLATION)["spec"]["ingress"][0]["from"]
    assert {"podSelector": policy["podSelector"]} in admitted
    assert not labels.items() >= names.index_selector("docs").items(), "it would be taken for a shard"
    pod = job["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("docs-shards", False)
    assert pod["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in job["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_pod_reads_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    s, route = world(golden=questions(), sampleSize=7, minOverlapPercent=50, goldenQueries=GOLDEN)
    pod = job_of(analysis(s, route))["spec"]["template"]["spec"]
    fields = {"metadata.name": "docs-g2-analysis-x", "metadata.namespace": "t"}
    for item in pod["containers"][0]["env"]:
        monkeypatch.setenv(item["name"], item.get("value") or fields[item["valueFrom"]["fieldRef"]["fieldPath"]])
    settings = AnalyseSettings()  # from the environment
    assert (settings.index, settings.pod, settings.sample_size) == ("docs", "docs-g2-analysis-x", 7)
    assert settings.checks == (Check.RECALL, Check.OVERLAP, Check.GOLDEN)
    assert (settings.blue, settings.green) == (route.generation(1), route.generation(2))
    (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "golden")
    (volume,) = (one["configMap"] for one in pod["volumes"] if one["name"] == "golden")
    assert settings.golden_path == f"{mount['mountPath']}/{volume['items'][0]['path']}"
    assert (volume["name"], volume["items"][0]["key"], volume["optional"]) == ("questions", "queries.jsonl", False)


def test_what_is_measured_names_the_job_and_what_is_judged_does_not() -> None:
    def name(golden: Manifest | None = None, **given: Any) -> str:
        return str(job_of(analysis(*world(golden=golden, **given)))["metadata"]["name"])

    assert name(minRecallPercent=90) == name(minRecallPercent=95)
    assert name(sampleSize=10) != name(sampleSize=20)
    assert name(minOverlapPercent=5) != name()
    golden = {"goldenQueries": GOLDEN}
    assert name(questions(), **golden) == name(questions(), **golden)
    assert name(questions(), **golden) != name(questions(**{"queries.jsonl": "other"}), **golden)
    s, route = world()
    blue = route.generation(1).model_copy(update={"histories": ("h2",), "token": "t"})
    again = route.model_copy(update={"generations": (blue, route.generation(2)), "epoch": 7})
    assert job_of(analysis(s, again)) == job_of(analysis(s, route)), "what the route records meanwhile is not measured"


def test_a_report_is_judged() -> None:
    s, route = world()
    bad = GOOD.model_copy(update={"recall": 0.5})
    for report in (GOOD, bad):
        gate = analysis(with_job(s, route, ended(report.dump())), route)
        assert gate.verdict == judge(bounds(), report, 0)
        assert gate.finding is None
        assert job_of(gate)
    assert judge(bounds(), GOOD, 0).passed
    assert not judge(bounds(), bad, 0).passed


def test_a_report_of_another_job_is_not_taken_for_this_ones() -> None:
    s, route = world()
    old = with_job(s, route, ended(GOOD.dump()))
    other, _ = world(sampleSize=9)
    assert analysis(replace(other, analysis_pods=old.analysis_pods), route).verdict is None


@pytest.mark.parametrize(
    ("golden", "expected"),
    [
        (None, "key queries.jsonl of ConfigMap questions, which does not exist in this namespace: create it"),
        (questions(other="x"), "ConfigMap questions, which has no such key .it has other.: add it"),
    ],
)
def test_golden_queries_that_are_not_there_are_waited_for(golden: Manifest | None, expected: str) -> None:
    gate = analysis(*world(golden=golden, goldenQueries=GOLDEN))
    assert (gate.intents, gate.verdict) == ((), None)
    assert gate.finding is not None
    assert (gate.finding.reason, gate.finding.stalled) == ("GoldenQueriesUnusable", True)
    assert re.search(expected, gate.finding.message), gate.finding.message
    assert "the active one serves" in gate.finding.message


def test_golden_queries_that_cannot_be_read_are_no_verdict_on_the_generation() -> None:
    s, route = world(golden=questions(), goldenQueries=GOLDEN)
    report = GOOD.model_copy(update={"golden_faults": ("line 2: there is no document 'x'",)})
    s = with_job(s, route, ended(report.dump()), **finished("Complete"))
    gate = analysis(s, route)
    assert gate.verdict is None
    assert gate.finding is not None
    assert (gate.finding.reason, gate.finding.stalled) == ("GoldenQueriesUnusable", True)
    assert "ConfigMap questions: line 2: there is no document 'x'" in gate.finding.message
    assert job_of(gate)
    mended = replace(s, golden_queries=questions(**{"queries.jsonl": "mended"}))
    gate = analysis(mended, route)
    assert gate.finding is None
    assert job_of(gate)["metadata"]["name"] not in {name for _, name in s.children.objects}


def test_a_pod_that_could_not_measure_is_told_of_and_tried_again() -> None:
    s, route = world()
    said = Report(outcome=Outcome.UNAVAILABLE, message="generation 2: no encoder answered").dump()
    gate = analysis(with_job(s, route, ended("killed\n", 137, "a"), ended(said, 1, "b"), active=1), route)
    assert gate.verdict is None
    assert job_of(gate)
    assert gate.finding is not None
    assert (gate.finding.reason, gate.finding.stalled) == ("AnalysisFailed", False)
    assert gate.finding.message.endswith("generation 2: no encoder answered")


def test_a_job_that_failed_stalls_and_is_made_again_after_a_while() -> None:
    s, route = world()
    said = Report(outcome=Outcome.UNAVAILABLE, message="shard 0 is away").dump()
    failed = with_job(s, route, ended(said, 1), **finished("Failed"))
    gate = analysis(failed, route)
    assert gate.verdict is None
    assert gate.finding is not None
    assert (gate.finding.reason, gate.finding.stalled) == ("AnalysisFailed", True)
    name = job_of(gate)["metadata"]["name"]
    assert "shard 0 is away" in gate.finding.message
    assert gate.finding.message.endswith(f"kubectl delete job -n {s.metadata.namespace} {name}")
    later = analysis(with_job(s, route, ended(said, 1), **finished("Failed", RETRY_AFTER + timedelta(seconds=1))), route)
    assert [intent.resource for intent in later.intents] == [NETWORK_POLICY]
    assert later.finding is not None


def test_a_pod_that_finds_no_room_is_told_of() -> None:
    s, route = world()
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    pending = {"metadata": {"name": "a"}, "status": {"phase": "Pending", "conditions": [condition]}}
    gate = analysis(with_job(s, route, pending), route)
    assert gate.finding is not None
    assert not gate.finding.stalled
    assert "0/3 nodes are available" in gate.finding.message


def test_a_job_whose_report_was_lost_is_made_again() -> None:
    s, route = world()
    gate = analysis(with_job(s, route, **finished("Complete")), route)
    assert [intent.resource for intent in gate.intents] == [NETWORK_POLICY]
    assert gate.verdict is None


def test_the_longest_name_of_an_index_gives_a_name_that_pods_can_be_labelled_with() -> None:
    assert len(names.analysis_job("x" * 40, 123_456, "12345")) <= 63


def test_a_report_fits_a_termination_message_whatever_it_names() -> None:
    lines = tuple(f"line {number}: " + "\u6771\x01" * 400 for number in range(20))
    full = GOOD.model_copy(update={"golden_faults": lines, "golden_missed": lines})
    assert len(full.dump().encode()) <= 4096
    read = AnalysisReport.parse(full.dump())
    assert read is not None
    assert len(read.golden_faults) == 5
    assert read.golden_faults[0].startswith("line 0: \u6771")
    assert read.recall == GOOD.recall
