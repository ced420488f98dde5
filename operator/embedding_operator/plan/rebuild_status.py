"""What the status says of a rebuild: how far it is, what it waits for, and the command that helps."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from embedding_serving.contract.route import Phase, Rebuild, Route

from ..build import names
from ..resources import Manifest
from ..status import Condition, EventIntent, timestamp
from .diagnosis import Finding
from .estimate import Estimate
from .shards import ShardWorld
from .snapshot import IndexSnapshot
from .wish import Inputs
from .world import SWITCHING, Decision, moment

MOST_FAILED = 20
FOLLOWING = "Following"
CATCHING_UP, VERIFYING, CANARY, AWAITING, PAUSED = "CatchingUp", "Verifying", "Canary", "AwaitingPromotion", "Paused"


@dataclass(frozen=True)
class Building:
    """A rebuild as it stands. `shards`: of the generation that is built, or of the one that is left."""

    route: Route
    decision: Decision
    shards: tuple[ShardWorld, ...]
    total_documents: int | None
    paused: bool
    gate: Finding | None
    holdups: tuple[Finding, ...] = ()
    """What keeps its shards from coming on."""
    standstill: Finding | None = None
    """The same, once it has lasted for too long."""
    estimate: Estimate | None = None
    """While it is built."""

    @property
    def rebuild(self) -> Rebuild:
        return self.route.rebuild or Rebuild(id="", generation=self.route.other or self.route.writer, input_hash="")

    @property
    def phase(self) -> str:
        """What the phases of the route look like from outside."""
        route = self.route
        if route.phase is not Phase.BUILDING:
            if route.phase is Phase.REOPENING and route.resume is Phase.COLLECTING:
                return "Aborting"
            return route.phase.value
        if self.paused:
            return PAUSED
        if self.rebuild.verdict is None:
            return VERIFYING if self.decision.wants_gate else CATCHING_UP
        if any(share for number, share in route.weights.items() if number != route.writer):
            return CANARY
        return AWAITING

    @property
    def documents(self) -> int:
        """Documents that the generation has."""
        return sum(shard.writer.documents for shard in self.shards if shard.writer)

    @property
    def rows_per_second(self) -> float:
        return sum(shard.writer.build.rows_per_second for shard in self.shards if shard.writer and shard.writer.build)

    @property
    def eta_seconds(self) -> int | None:
        left, rate = self.decision.behind, self.rows_per_second
        if self.phase != CATCHING_UP or left is None or rate <= 0:
            return None
        return round(left / rate)

    @property
    def percent(self) -> int:
        total = self.total_documents or 0
        return min(100, 100 * self.documents // total) if total else 100

    def progress(self) -> str:
        """For the PROGRESS column."""
        match self.phase:
            case "CatchingUp":
                eta = self.eta_seconds
                return f"CatchingUp {self.percent}%{f' {_short(eta)}' if eta is not None else ''}"
            case "Canary":
                return f"Canary {self.route.weights.get(self.route.other or 0, 0)}%"
            case "Fencing" if self.route.resume is Phase.OBSERVING:
                return "RollingBack"
        return self.phase

    def status(self) -> Manifest:
        """`status.rebuild`, without members that are not known."""
        rebuild, verdict = self.rebuild, self.rebuild.verdict
        infos = [shard.writer for shard in self.shards if shard.writer]
        failed = [one for info in infos if info.build for one in info.build.failed][:MOST_FAILED]
        known: dict[str, Any] = {
            "id": rebuild.id,
            "cause": "; ".join(rebuild.causes)[:1_000] or None,
            "generation": rebuild.generation,
            "phase": self.phase,
            "documents": self.documents,
            "totalDocuments": self.total_documents,
            "startedAt": rebuild.started or None,
            "etaSeconds": self.eta_seconds,
            "estimate": self.estimate.status() if self.estimate else None,
            "failedDocuments": [{"id": one.id[:253], "message": one.reason[:1_000]} for one in failed] or None,
            "verdict": None,
        }
        if verdict:
            numbers = {
                "recall": verdict.recall,
                "overlap": verdict.overlap,
                "goldenHit": verdict.golden_hit,
                "latencyIncreasePercent": verdict.latency_increase_percent,
            }
            known["verdict"] = {"passed": verdict.passed} | {k: f"{v:.3f}" for k, v in numbers.items() if v is not None}
            if verdict.message:
                known["verdict"]["message"] = verdict.message
        return {key: value for key, value in known.items() if value is not None}


def up_to_date(building: Building, name: str) -> Condition:
    """While a generation is built beside the one that serves."""
    route, number = building.route, building.rebuild.generation
    serving = f"generation {route.writer} serves on"
    causes = "; ".join(building.rebuild.causes)
    waits = next((one.message for one in (building.gate, *building.holdups) if one), building.decision.waits)
    detail = f": {waits}" if waits else ""
    match building.phase:
        case "Paused":
            text = f"{serving}, generation {number} waits: kubectl annotate vi {name} {names.RESUME}={number}"
            return Condition("UpToDate", "False", "Paused", text)
        case "AwaitingPromotion" if building.decision.waits:
            text = f"{serving}, generation {number}{detail}: kubectl annotate vi {name} {names.PROMOTE}={number}"
            return Condition("UpToDate", "False", "AwaitingPromotion", text)
        case "Aborting" | "Collecting":
            return Condition("UpToDate", "False", "Rebuilding", f"{serving}, and what is not needed any more is removed")
    if building.phase in (CATCHING_UP, VERIFYING):
        reused = f" and takes the vectors of generation {route.donor.generation}" if route.donor else ""
        text = f"{serving} while generation {number} is built beside it{reused}{detail}. Why: {causes}"
        return Condition("UpToDate", "False", "Rebuilding", text)
    return Condition("UpToDate", "False", "Rebuilding", f"generation {number}: {building.phase}{detail}")


def turned_down(route: Route, wanted: Inputs, differs: Iterable[str], name: str) -> Condition | None:
    """Where the spec asks for what was refused, aborted or left."""
    refused = route.refused
    if refused is None or refused.input_hash != wanted.hash:
        return None
    text = (
        f"generation {route.writer} goes on serving: {refused.message}. "
        f"To try once more: kubectl annotate vi {name} {names.RETRY}={refused.generation}"
    )
    return Condition("UpToDate", "False", refused.reason.value, f"{text}. The spec asks for: {'; '.join(differs)}")


def rollback_available(s: IndexSnapshot, decision: Decision | None) -> Condition:
    route, name = s.route.route, s.metadata.name
    if route is not None and route.phase in SWITCHING and route.resume is not Phase.STABLE:
        text = "a switch is under way: when it is done, the other generation follows the one that takes writes"
        return Condition("RollbackAvailable", "False", FOLLOWING, text)
    if route is None or route.phase is not Phase.OBSERVING or route.other is None:
        text = "there is one generation: nothing to go back to"
        return Condition("RollbackAvailable", "False", "NoFormerGeneration", text)
    until = _until(s, route)
    left = decision.behind if decision else None
    if left is None:
        text = f"generation {route.other} does not say how far it follows generation {route.writer}"
        return Condition("RollbackAvailable", "False", FOLLOWING, text)
    text = f"until {until}: kubectl annotate vi {name} {names.ROLLBACK}={route.writer} goes back to generation {route.other}"
    waits = f". Now: {decision.waits}" if decision and decision.waits else ""
    return Condition("RollbackAvailable", "True", "Available", f"{text}{waits}")


def rollback(s: IndexSnapshot) -> Manifest | None:
    """`status.rollback`."""
    route = s.route.route
    if route is None or route.phase is not Phase.OBSERVING or route.other is None:
        return None
    return {"generation": route.other, "until": _until(s, route)}


def refused(route: Route | None) -> Manifest | None:
    """`status.refused`."""
    if route is None or route.refused is None:
        return None
    one = route.refused
    return {"inputHash": one.input_hash, "reason": one.reason.value, "message": one.message}


def events(before: Route | None, after: Route) -> list[EventIntent]:
    """What is worth telling of a decision."""
    if before is None or before.phase is after.phase:
        return []
    number, other = after.writer, after.other
    if after.donor and after.donor != before.donor:
        text = f"generation {after.donor.generation} stays until the next one has taken its vectors, where texts are the same"
        return [EventIntent("Normal", "VectorsKept", text)]
    told = {
        (Phase.STABLE, Phase.BUILDING): ("RebuildStarted", f"generation {other} is built beside {number}: {_causes(after)}"),
        (Phase.BUILDING, Phase.FENCING): ("Switching", f"writes wait while generation {other} takes the last changes"),
        (Phase.OBSERVING, Phase.FENCING): ("RollingBack", f"going back from generation {number} to {other}"),
        (Phase.FENCING, Phase.COMMITTED): ("Switched", f"generation {number} serves from now on, {other} is kept for a while"),
        (Phase.COMMITTED, Phase.OBSERVING): ("WritesResumed", f"generation {number} takes writes"),
        (Phase.OBSERVING, Phase.COLLECTING): ("RollbackWindowOver", f"generation {other} is removed with its volumes"),
        (Phase.COLLECTING, Phase.STABLE): ("Collected", f"generation {before.other} is gone"),
    }
    found = told.get((before.phase, after.phase))
    if found:
        return [EventIntent("Normal", found[0], found[1][:1_000])]
    if before.phase is Phase.FENCING:
        return [EventIntent("Warning", "SwitchCalledOff", f"writes go on at generation {number}; it is tried again")]
    if before.phase is Phase.BUILDING and after.resume is Phase.COLLECTING:
        why = after.refused.message if after.refused else "the spec asks for something else now"
        return [EventIntent("Warning", "RebuildGivenUp", f"generation {other} is given up: {why}"[:1_000])]
    return []


def _causes(route: Route) -> str:
    return "; ".join(route.rebuild.causes) if route.rebuild else ""


def _until(s: IndexSnapshot, route: Route) -> str:
    since = moment(route.since) or s.now
    return timestamp(since + timedelta(seconds=s.index.spec.rebuild.rollback_window_seconds))


def _short(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds < 3_600 else f"{seconds // 3_600}h{seconds % 3_600 // 60:02}m"
