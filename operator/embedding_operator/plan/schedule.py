"""When spec.rebuild.schedule asks for a rebuild: cron in the zone of the spec, told in UTC.

Since when the schedule counts is on record with the route, so that setting one asks for nothing at once, and times that
passed while nobody looked, or while a rebuild was under way, ask once.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from embedding_serving.contract.route import Timetable

from ..api.rebuild import Rebuild
from ..status import timestamp
from .diagnosis import Finding

UTC_NAME = "UTC"
SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


def timetable(wanted: Rebuild, known: Timetable | None, now: datetime) -> Timetable | Finding | None:
    """What is to be on record of the schedule; None where the spec has none, a finding where it says nothing."""
    if wanted.schedule is None:
        return None
    zone = wanted.time_zone or UTC_NAME
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        text = f"spec.rebuild.timeZone {zone} is not in the time zone database: write a name such as Europe/Berlin"
        return _unusable(text)
    found = Timetable(schedule=wanted.schedule, zone=zone, after=timestamp(now))
    try:
        next(_times(found, now))
    except CronSimError as error:
        return _unusable(f"spec.rebuild.schedule {wanted.schedule} says no time ({error}): correct it")
    except StopIteration:
        return _unusable(f"spec.rebuild.schedule {wanted.schedule} never comes: correct it")
    return known if known and (known.schedule, known.zone) == (found.schedule, found.zone) else found


def due(kept: Timetable | None, now: datetime) -> str:
    """The latest time of the schedule that has come and was not counted yet; empty = none."""
    if kept is None:
        return ""
    latest = next(_times(kept, now, back=True)).astimezone(UTC)
    return timestamp(latest) if latest > datetime.fromisoformat(kept.after) else ""


def next_time(kept: Timetable, now: datetime) -> datetime:
    return next(_times(kept, now)).astimezone(UTC)


def _times(kept: Timetable, now: datetime, *, back: bool = False) -> Iterator[datetime]:
    """From now on, or back from now, which is included. Raises CronSimError."""
    begin = now.astimezone(ZoneInfo(kept.zone)).replace(microsecond=1)
    return CronSim(SHORT.get(kept.schedule, kept.schedule), begin, reverse=back)


def _unusable(text: str) -> Finding:
    return Finding("InvalidSchedule", f"{text}. Until then no rebuild begins by schedule")
