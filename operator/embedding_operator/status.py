"""Arithmetic of conditions (Kubernetes API conventions; `Reconciling` and `Stalled` as kstatus reads them)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Truth = Literal["True", "False", "Unknown"]


ALARMING = frozenset({"NoReadyPods", "ShardDown", "WriterDown", "VolumeFull", "StoreCorrupt", "VolumePending"})
"""Reasons that make an event a warning."""


@dataclass(frozen=True)
class Condition:
    """One condition as decided, before it has a time."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(previous: list[dict[str, Any]], decided: list[Condition], generation: int, now: datetime) -> list[dict[str, Any]]:
    """Conditions for the status: `lastTransitionTime` moves only when `status` flips; those not decided vanish."""
    before = {condition["type"]: condition for condition in previous}
    merged = []
    for condition in decided:
        old = before.get(condition.type)
        kept = old is not None and old.get("status") == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:32_000],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if kept and old else timestamp(now),
            }
        )
    return merged


@dataclass(frozen=True)
class EventIntent:
    """An event worth telling: a transition, never a state."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(previous: list[dict[str, Any]], decided: list[Condition]) -> list[EventIntent]:
    """Events for the conditions whose status or reason changed."""
    before = {condition["type"]: (condition.get("status"), condition.get("reason")) for condition in previous}
    events = []
    for condition in decided:
        if before.get(condition.type) == (condition.status, condition.reason):
            continue
        if condition.type not in before and condition.status != "True":
            continue  # the first look at an object: its beginning is no news
        bad = condition.type == "Stalled" or (condition.status == "False" and condition.reason in ALARMING)
        text = f"{condition.type}={condition.status}: {condition.message or condition.reason}"
        events.append(EventIntent("Warning" if bad else "Normal", condition.reason, text[:1_000]))
    return events


def says(live: dict[str, Any], status: dict[str, Any], types: Collection[str], members: Collection[str]) -> bool:
    """Whether a live status says this already. Conditions and members of other writers don't count."""
    ours = {key: value for key, value in live.items() if key in members}
    found = {c["type"]: c for c in live.get("conditions", []) if c["type"] in types}
    wanted = {c["type"]: c for c in status["conditions"]}
    return found == wanted and ours | {"conditions": None} == status | {"conditions": None}
