"""What a plan tells of a rebuild for metrics."""

from dataclasses import dataclass
from enum import StrEnum


class RebuildOutcome(StrEnum):
    """What came of a rebuild, or of a try to switch."""

    SWITCHED = "switched"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    CALLED_OFF = "called_off"


@dataclass(frozen=True)
class RebuildNumbers:
    """While there are two generations. behind: changes that the one that reads has still to take; None = not known."""

    phase: str
    documents: int
    total_documents: int | None
    behind: int | None
    rows_per_second: float
    recall: float | None
    stalled: bool


@dataclass(frozen=True)
class Turn:
    """What a decision means once it is on record. fences: writes wait from now on; opens: they are over.

    fenced_for: seconds since the fence was decided upon, by the route, which counts whole ones.
    """

    outcome: RebuildOutcome | None = None
    fences: bool = False
    opens: bool = False
    fenced_for: float | None = None
