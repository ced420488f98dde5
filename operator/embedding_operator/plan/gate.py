"""The gate before a new generation serves: a Job measures, the spec's bounds judge.

A verdict is about the new generation. What keeps it from being judged, such as golden queries that nobody can read, is a
finding instead: the active generation goes on serving, and nothing is refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from embedding_serving.contract.admin import ShardInfo
from embedding_serving.contract.reports import AnalysisReport, Report
from embedding_serving.contract.route import GenerationRoute, Phase, Route, Verdict

from ..api.rebuild import GoldenQueriesReference
from ..build import analysis as build
from ..build import names
from ..resources import JOB, NETWORK_POLICY, Manifest
from .children import Intent
from .diagnosis import Finding, diagnose
from .judgement import BOUNDS, checks_of, judge
from .snapshot import IndexSnapshot

RETRY_AFTER = timedelta(minutes=10)
"""A Job that ended without numbers is made again: what it lacked may have come back."""


@dataclass(frozen=True)
class Gate:
    """verdict: None while there is none yet. finding: why there is none, where that is more than time."""

    intents: tuple[Intent, ...] = ()
    verdict: Verdict | None = None
    finding: Finding | None = None


def analysis(s: IndexSnapshot, route: Route) -> Gate:
    """What is to be made to judge the generation that is being built, and what came of it."""
    judged = route.rebuild is not None and route.rebuild.verdict is not None
    if route.phase is not Phase.BUILDING or route.other is None or judged:
        return Gate()
    blue, green = route.active, route.generation(route.other)
    wanted = s.index.spec.rebuild.pre_promotion_analysis
    failed_documents = sum(info.failed_documents for info in _writers(s, green))
    checks = checks_of(wanted)
    if not checks or _is_empty(s, blue):
        nothing = AnalysisReport(generation=green.generation, queries=0, documents=0, active_documents=0)
        return Gate(verdict=judge(wanted, nothing, failed_documents))
    golden = _golden_digest(s, wanted.golden_queries.config_map_ref) if wanted.golden_queries else None
    if isinstance(golden, Finding):
        return Gate(finding=golden)
    job = build.job(s.index, blue, green, checks, golden, s.at)
    name = job["metadata"]["name"]
    policy = Intent(NETWORK_POLICY, build.network_policy(s.index))
    intents = (policy, Intent(JOB, job))
    live, pods = s.children.get(JOB, name), [pod for pod in s.analysis_pods if _is_of(name, pod)]
    report = next(_reports(pods), None)
    if report and not report.golden_faults:
        return Gate(intents, judge(wanted, report, failed_documents))
    finding = _unreadable(s, name, report) if report else _failure(s, name, live, pods)
    return Gate((policy,) if _is_due_again(live, report, s.now) else intents, None, finding)


def _is_empty(s: IndexSnapshot, generation: GenerationRoute) -> bool:
    known = list(_writers(s, generation))
    return len(known) == generation.shards and not any(info.documents for info in known)


def _writers(s: IndexSnapshot, generation: GenerationRoute) -> Iterator[ShardInfo]:
    for number in range(generation.shards):
        info = s.infos.get(f"{names.shard(s.metadata.name, generation.generation, number)}-0")
        if info is not None:
            yield info


def _golden_digest(s: IndexSnapshot, reference: GoldenQueriesReference) -> str | Finding:
    """Hash of the golden queries, so that others are measured anew."""
    what = f"{BOUNDS}.goldenQueries asks for key {reference.key} of ConfigMap {reference.name}"
    if s.golden_queries is None:
        return _golden_finding(f"{what}, which does not exist in this namespace: create it, or remove goldenQueries")
    content = (s.golden_queries.get("data") or {}) | (s.golden_queries.get("binaryData") or {})
    if reference.key not in content:
        held = ", ".join(sorted(content)) or "none"
        return _golden_finding(f"{what}, which has no such key (it has {held}): add it, or correct configMapRef.key")
    return names.digest(content[reference.key])[:16]


def _unreadable(s: IndexSnapshot, job: str, report: AnalysisReport) -> Finding:
    wanted = s.index.spec.rebuild.pre_promotion_analysis.golden_queries
    reference = wanted.config_map_ref if wanted else None
    where = f"key {reference.key} of ConfigMap {reference.name}" if reference else "the golden queries"
    return _golden_finding(
        f"{where}: {'; '.join(report.golden_faults)}: correct it; they are measured again when it has changed, every ten "
        f"minutes, or now: kubectl delete job -n {s.metadata.namespace} {job}"
    )


def _golden_finding(text: str) -> Finding:
    return Finding("GoldenQueriesUnusable", f"{text}. Until then the new generation is not judged, and the active one serves")


def _failure(s: IndexSnapshot, name: str, live: Manifest | None, pods: Iterable[Manifest]) -> Finding | None:
    """What keeps the Job from measuring: at first it may pass."""
    ended = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    newest = max(ended, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    why = _last_words(newest) if newest else "its pods left no word"
    said = _ended(live, "Failed") if live else None
    if said:
        text = (
            f"Job {name} could not compare the generations ({said.get('reason', 'Failed')}): {why}. The active one "
            f"serves; this is tried again every ten minutes, or now: kubectl delete job -n {s.metadata.namespace} {name}"
        )
        return Finding("AnalysisFailed", text)
    if newest:
        return Finding("AnalysisFailed", f"Job {name} tries again to compare the generations: {why}", stalled=False)
    return diagnose((pod for pod in pods if pod.get("status", {}).get("phase") == "Pending"), ())


def _last_words(pod: Manifest) -> str:
    for ended in _endings(pod):
        report = Report.parse(ended.get("message"))
        lines = [line.strip() for line in (ended.get("message") or "").splitlines() if line.strip()]
        last = lines[-1][-500:] if lines else f"exit code {ended.get('exitCode')} ({ended.get('reason', 'no word')})"
        return report.message if report else last
    return str(pod.get("status", {}).get("message") or pod.get("status", {}).get("reason") or "no word")


def _reports(pods: Iterable[Manifest]) -> Iterator[AnalysisReport]:
    for pod in pods:
        for ended in _endings(pod):
            report = AnalysisReport.parse(ended.get("message")) if ended.get("exitCode") == 0 else None
            if report:
                yield report


def _endings(pod: Manifest) -> Iterator[Manifest]:
    for container in pod.get("status", {}).get("containerStatuses", []):
        if "terminated" in container.get("state", {}):
            yield container["state"]["terminated"]


def _is_of(job: str, pod: Manifest) -> bool:
    owners = pod["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") and owner.get("name") == job for owner in owners)


def _is_due_again(live: Manifest | None, report: AnalysisReport | None, now: datetime) -> bool:
    """A Job that is not intended any more is deleted, and made anew at the next look."""
    if live is None:
        return False
    complete, failed = _ended(live, "Complete"), _ended(live, "Failed")
    if complete and report is None:
        return True  # its pod went before it was read
    ended = complete or failed
    return ended is not None and now - datetime.fromisoformat(ended["lastTransitionTime"]) > RETRY_AFTER


def _ended(job: Manifest, how: str) -> Manifest | None:
    conditions = job.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == how and one["status"] == "True"), None)
