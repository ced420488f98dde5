"""A rebuild in numbers, and what one decision means for it."""

from embedding_serving.contract.route import Phase, Route, TurnedDown

from .measures import RebuildNumbers, RebuildOutcome, Turn
from .rebuild_status import Building
from .world import SWITCHING, Decision, moment


def numbers(building: Building | None) -> RebuildNumbers | None:
    if building is None:
        return None
    verdict = building.rebuild.verdict
    return RebuildNumbers(
        phase=building.phase,
        documents=building.documents,
        total_documents=building.total_documents,
        behind=building.decision.behind,
        rows_per_second=building.rows_per_second,
        recall=verdict.recall if verdict else None,
        stalled=building.standstill is not None,
    )


def turn(before: Route | None, decision: Decision | None, now_seconds: float) -> Turn:
    """now_seconds: since the epoch of Unix."""
    if before is None or decision is None or decision.route.phase is before.phase:
        return Turn()
    after = decision.route
    switched = before.phase is Phase.COMMITTED and before.rebuild
    since = moment(before.rebuild.fenced) if switched and before.rebuild else None
    return Turn(
        outcome=_outcome(before, after),
        fences=after.phase is Phase.FENCING,
        opens=before.phase in SWITCHING and after.phase not in SWITCHING,
        fenced_for=max(0.0, now_seconds - since.timestamp()) if since else None,
    )


def _outcome(before: Route, after: Route) -> RebuildOutcome | None:
    match before.phase, after.phase:
        case Phase.FENCING, Phase.COMMITTED:
            return RebuildOutcome.ROLLED_BACK if before.resume is Phase.OBSERVING else RebuildOutcome.SWITCHED
        case Phase.FENCING | Phase.BUILDING, Phase.REOPENING if after.resume is Phase.COLLECTING:
            new = after.refused is not None and after.refused != before.refused
            judged = new and after.refused and after.refused.reason in (TurnedDown.GATE_REFUSED, TurnedDown.DIGESTS_DIFFER)
            return RebuildOutcome.REFUSED if judged else RebuildOutcome.GAVE_UP
        case Phase.FENCING, Phase.REOPENING:
            return RebuildOutcome.CALLED_OFF
    return None
