"""The status of a VectorIndex: what serves, what takes writes, what blocks, and the command that helps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from embedding_serving.contract.admin import ShardInfo
from embedding_serving.contract.index import Acknowledge
from embedding_serving.contract.route import Phase

from ..api.vectorindexstatus import VectorIndexStatus
from ..build import names
from ..resources import Manifest
from ..status import Condition, merge
from .asked import cost, lacks
from .diagnosis import Finding
from .generation import differences, draft, inputs, wanted_space
from .rebuild_status import Building, refused, rollback, rollback_available, turned_down, up_to_date
from .shard_trouble import trouble
from .shards import ShardWorld
from .snapshot import IndexSnapshot
from .standing import Standing
from .world import Decision

CONDITION_TYPES = frozenset({"Ready", "Writable", "UpToDate", "Reconciling", "Stalled", "RollbackAvailable"})
STATUS_MEMBERS = frozenset(str(field.alias) for field in VectorIndexStatus.model_fields.values())
NUMBERS = ("documents", "bytes", "recall")
SHARD_NUMBERS = ("documents", "followerLag")
REBUILD_NUMBERS = ("documents", "totalDocuments", "etaSeconds", "estimate", "failedDocuments")
MOST_CHARACTERS = 32_000
AT_REST = frozenset(
    {
        "UpToDate",
        "Queued",
        "WaitingForModel",
        "Paused",
        "AwaitingPromotion",
        "InsufficientResources",
        "GateRefused",
        "Aborted",
        "RolledBack",
        "DigestsDiffer",
    }
)
"""Reasons of UpToDate in which nothing moves by itself."""


@dataclass(frozen=True)
class Verdict:
    """What the plan found, condensed for the status."""

    decision: Decision | None
    """None where there is no route, and none can be decided upon."""
    shards: tuple[ShardWorld, ...]
    refusal: Finding | None
    """Why nothing is done at all, until somebody acts."""
    waits_for: Finding | None
    """What the first generation waits for."""
    strangers: tuple[str, ...]
    pending: bool
    """There are steps to take: what was seen is not yet what the spec asks for."""
    building: Building | None = None
    """While there are two generations."""
    faults: tuple[Finding, ...] = ()
    """Parts of the spec that can't be followed, while all others are."""

    @property
    def standings(self) -> dict[int, Standing]:
        return {one.shard.number: one.standing for one in self.decision.assessments} if self.decision else {}

    @property
    def open_shards(self) -> int:
        return sum(standing is Standing.OPEN for standing in self.standings.values())


def conditions(s: IndexSnapshot, v: Verdict) -> list[Condition]:
    troubles = _troubles(s, v)
    ready, writable, current = _ready(s, v, troubles), _writable(s, v, troubles), _up_to_date(s, v, troubles)
    decided = [ready, writable, current]
    blocker = _blocker(v, troubles)
    if blocker and not s.paused:
        decided.append(Condition("Stalled", "True", blocker.reason, blocker.message))
    elif not s.paused:
        moving = next((one for one in (current, ready, writable) if one.status != "True" and one.reason not in AT_REST), None)
        if moving:
            decided.append(Condition("Reconciling", "True", moving.reason, moving.message))
    return [*decided, rollback_available(s, v.decision)]


def settled(decided: Iterable[Condition]) -> bool:
    """Whether nothing is expected to change by itself."""
    return not any(condition.type == "Reconciling" for condition in decided)


def status_of(s: IndexSnapshot, v: Verdict, decided: list[Condition]) -> Manifest:
    """The whole status, without members that are not known."""
    generation = s.metadata.generation
    shards = [_shard(s, v, shard) for shard in v.shards]
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": merge(s.status.get("conditions", []), decided, generation, s.now),
        "progress": _progress(s, v, decided),
        "active": _active(s),
        "rebuild": v.building.status() if v.building and v.building.route.phase is not Phase.OBSERVING else None,
        "rollback": rollback(s),
        "refused": refused(s.route.route),
        "shards": shards or None,
    }
    if shards:
        writers = [shard.writer for shard in v.shards if shard.writer and shard.writer.history]
        measured = [(found, copy.documents) for shard in v.shards for copy, found in _measured(shard)]
        status |= {
            "documents": sum(shard.get("documents", 0) for shard in shards),
            "bytes": sum(w.bytes for w in writers) if len(writers) == len(shards) else s.status.get("bytes"),
            "recall": _weighted(measured) if measured else s.status.get("recall"),
        }
    return {key: value for key, value in status.items() if value is not None}


def numbers_aside(status: Manifest) -> Manifest:
    """The status without what is measured and changes all the time."""
    shards = [{key: value for key, value in shard.items() if key not in SHARD_NUMBERS} for shard in status.get("shards", [])]
    rebuild = {key: value for key, value in status.get("rebuild", {}).items() if key not in REBUILD_NUMBERS}
    progress = str(status.get("progress", "")).partition(" ")[0]
    still = {key: value for key, value in status.items() if key not in NUMBERS}
    return still | {"shards": shards, "rebuild": rebuild, "progress": progress}


def _measured(shard: ShardWorld) -> Iterator[tuple[ShardInfo, float]]:
    """What the copies of a shard found out: each samples the queries that came to it."""
    answers = shard.answers
    for copy in (answers.writer, *answers.followers):
        if copy and copy.info.documents and copy.info.index and copy.info.index.recall is not None:
            yield copy.info, copy.info.index.recall


def _weighted(measured: list[tuple[float, int]]) -> str:
    """By documents: what a search over all shards finds."""
    total = sum(documents for _, documents in measured)
    return f"{sum(recall * documents for recall, documents in measured) / total:.3f}"


def _troubles(s: IndexSnapshot, v: Verdict) -> list[Finding]:
    standings = v.standings
    found = (trouble(s, shard, standings.get(shard.number), v.decision) for shard in v.shards)
    return [finding for finding in found if finding]


def _blocker(v: Verdict, troubles: list[Finding]) -> Finding | None:
    """What waiting does not mend."""
    if v.strangers:
        taken = ", ".join(v.strangers)
        text = f"{taken} exists already and belongs to somebody else: rename or delete it, or rename this"
        return Finding("NameConflict", text)
    building = (v.building.gate, v.building.standstill) if v.building else ()
    found = (v.refusal, *troubles, *building, *v.faults)
    return next((finding for finding in found if finding and finding.stalled), None)


def _ready(s: IndexSnapshot, v: Verdict, troubles: list[Finding]) -> Condition:
    if v.waits_for and v.waits_for.reason == "VolumePending":
        return Condition("Ready", "False", "VolumePending", v.waits_for.message)
    if s.route.route is None:
        if v.waits_for:
            return Condition("Ready", "False", "ModelNotReady", v.waits_for.message)
        return Condition(
            "Ready", "False", "ShardDown", v.refusal.message if v.refusal else "the first generation is being made"
        )
    down = [shard for shard in v.shards if not shard.answering]
    if down:
        why = next((finding.message for finding in troubles), f"shard {down[0].name} is not open yet")
        text = f"{len(v.shards) - len(down)} of {len(v.shards)} shards answer: {why}"
        if any(_pending(claim) for shard in down for claim in shard.claims):
            return Condition("Ready", "False", "VolumePending", text)
        return Condition("Ready", "False", "ShardDown", text)
    active = s.route.route.active
    encoder = s.encoders.get(active.model) if active.model else None
    if active.model and (encoder is None or not encoder.ready_replicas.get(active.revision or "")):
        text = f"revision {active.revision} of EmbeddingModel {active.model}, which made the vectors, has no pod that answers"
        return Condition("Ready", "False", "ModelNotReady", f"{text}: kubectl describe em {active.model}")
    return Condition("Ready", "True", "Serving", f"every shard of generation {active.generation} answers")


def _pending(claim: Manifest) -> bool:
    return bool(claim.get("status", {}).get("phase") == "Pending")


def _writable(s: IndexSnapshot, v: Verdict, troubles: list[Finding]) -> Condition:
    route = s.route.route
    if route is None:
        why = v.waits_for or v.refusal
        return Condition("Writable", "False", "WriterDown", why.message if why else "the first generation is being made")
    for finding in troubles:
        if finding.reason == "VolumeFull":
            return Condition("Writable", "False", "VolumeFull", finding.message)
        if finding.reason == "StoreCorrupt":
            return Condition("Writable", "False", "StoreCorrupt", finding.message)
    for finding in troubles:
        return Condition("Writable", "False", "WriterDown", finding.message)
    if v.open_shards < len(v.shards):
        text = f"{v.open_shards} of {len(v.shards)} shards are open at epoch {route.epoch}: the others are being opened"
        return Condition("Writable", "False", "Fenced", text)
    alone = [shard.name for shard in v.shards if not shard.answers.followers]
    if s.index.spec.acknowledge is Acknowledge.FOLLOWER and alone:
        text = f"spec.acknowledge is Follower and no follower of shard {alone[0]} answers: kubectl get pods -l {_selector(s)}"
        return Condition("Writable", "False", "WriterDown", text)
    return Condition("Writable", "True", "Writable", f"every shard takes writes at epoch {route.epoch}")


def _up_to_date(s: IndexSnapshot, v: Verdict, troubles: list[Finding]) -> Condition:
    if s.paused:
        text = f"annotation {names.PAUSED} is true: nothing is touched until it is removed"
        return Condition("UpToDate", "Unknown", "Paused", text)
    space = wanted_space(s)
    if isinstance(space, Finding):
        return Condition("UpToDate", "False", "WaitingForModel", space.message)
    route, name = s.route.route, s.metadata.name
    if route and v.building and route.phase is not Phase.OBSERVING:
        return up_to_date(v.building, name)
    wanted, wish = inputs(s, space), draft(s, space, route.next_generation if route else 1)
    asked = list(differences(wanted, wish, route.active)) if route else []
    if route and asked:
        down = turned_down(route, wanted, asked, name)
        if down:
            return down
        takes = cost(s, wish, route.active)
        lack = lacks(s)
        if lack:
            text = f"generation {route.writer} goes on serving, and no other is begun: {lack.message}"
            return Condition("UpToDate", "False", "InsufficientResources", f"{text}. It is to hold {takes}" if takes else text)
        waits = f" ({v.decision.waits})" if v.decision and v.decision.waits else ""
        text = f"generation {route.writer} goes on serving, and another one is to be built{waits}: {'; '.join(asked)}"
        text += f". It is to hold {takes}" if takes else ""
        return Condition("UpToDate", "False", "Queued", text)
    done = [shard for shard in v.shards if shard.rolled_out]
    if route and len(done) == len(v.shards) and not v.pending and not s.failures:
        return Condition("UpToDate", "True", "UpToDate", f"generation {route.writer} is as the spec asks for")
    text = f"{len(done)} of {len(v.shards)} shards have all their copies" if route else "the first generation is being made"
    details = [*s.failures, *(finding.message for finding in troubles[:1])]
    return Condition("UpToDate", "False", "RollingOut", "; ".join([text, *details]))


def _progress(s: IndexSnapshot, v: Verdict, decided: list[Condition]) -> str | None:
    if s.paused:
        return "Paused"
    stalled = next((condition.reason for condition in decided if condition.type == "Stalled"), None)
    quiet = v.building is None or v.building.phase == Phase.OBSERVING
    if stalled or (settled(decided) and quiet):
        return stalled
    if s.route.route is None:
        return "Waiting" if v.waits_for else "Starting"
    if v.building and s.route.route.phase is not Phase.OBSERVING:
        return v.building.progress()
    copying = [one.copied for one in v.decision.assessments if one.standing is Standing.COPYING] if v.decision else []
    if copying:
        read, rows = sum(read for read, _ in copying), sum(rows for _, rows in copying)
        return f"Copying {100 * read // max(rows, 1)}%"
    if v.open_shards < len(v.shards):
        return f"Opening {v.open_shards}/{len(v.shards)}"
    return f"RollingOut {sum(shard.rolled_out for shard in v.shards)}/{len(v.shards)}"


def _active(s: IndexSnapshot) -> Manifest | None:
    route = s.route.route
    if route is None:
        return None
    active = route.active
    known = {
        "generation": active.generation,
        "epoch": route.epoch,
        "model": active.model,
        "revision": active.revision,
        "fingerprint": active.fingerprint,
        "shards": active.shards,
        "since": route.since or None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _shard(s: IndexSnapshot, v: Verdict, shard: ShardWorld) -> Manifest:
    before: Manifest = next((one for one in s.status.get("shards", []) if one["name"] == shard.name), {})
    lost = v.standings.get(shard.number) in (Standing.LOST, Standing.COPYING)
    speakers = [None if lost else shard.writer, *(copy.info for copy in shard.answers.followers)]
    documents = next((info.documents for info in speakers if info and info.history), None)
    finding = trouble(s, shard, v.standings.get(shard.number), v.decision)
    entry = {
        "name": shard.name,
        "writer": shard.writer_pod["metadata"]["name"] if shard.writer_pod else None,
        "readyReplicas": shard.ready,
        "documents": before.get("documents") if documents is None else documents,
        "followerLag": shard.follower_lag,
        "message": finding.message[:MOST_CHARACTERS] if finding else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _selector(s: IndexSnapshot) -> str:
    return ",".join(f"{key}={value}" for key, value in names.index_selector(s.metadata.name).items())
