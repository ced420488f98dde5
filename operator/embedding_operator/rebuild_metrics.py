"""Rebuilds as metrics: what a look saw, and what came of decisions. Nothing is left of an object that has gone."""

import time
from collections.abc import Callable

from .lanes import Key
from .metrics import (
    REBUILD_BEHIND_ROWS,
    REBUILD_DOCUMENTS,
    REBUILD_PHASE,
    REBUILD_RECALL,
    REBUILD_ROWS_PER_SECOND,
    REBUILD_STALLED,
    REBUILD_TOTAL_DOCUMENTS,
    REBUILD_WRITE_PAUSE_SECONDS,
    REBUILDS,
)
from .plan.measures import RebuildNumbers, RebuildOutcome, Turn

GAUGES = (
    REBUILD_DOCUMENTS,
    REBUILD_TOTAL_DOCUMENTS,
    REBUILD_BEHIND_ROWS,
    REBUILD_ROWS_PER_SECOND,
    REBUILD_RECALL,
    REBUILD_STALLED,
)


class RebuildMetrics:
    """Remembers when this process had a fence put up: the route counts whole seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases: dict[Key, str] = {}
        self._fenced: dict[Key, float] = {}

    def seen(self, key: Key, numbers: RebuildNumbers | None) -> None:
        """What a look found; None = one generation is all there is."""
        labels = (key.namespace, key.name)
        former = self._phases.pop(key, None)
        if former and (numbers is None or numbers.phase != former):
            REBUILD_PHASE.remove(*labels, former)
        if numbers is None:
            for gauge in GAUGES if former else ():
                gauge.remove(*labels)
            return
        self._phases[key] = numbers.phase
        REBUILD_PHASE.labels(*labels, numbers.phase).set(1)
        values = (
            numbers.documents,
            numbers.total_documents,
            numbers.behind,
            numbers.rows_per_second,
            numbers.recall,
            numbers.stalled,
        )
        for gauge, value in zip(GAUGES, values, strict=True):
            if value is None:
                gauge.remove(*labels)
            else:
                gauge.labels(*labels).set(value)

    def decided(self, key: Key, turn: Turn) -> None:
        """A decision that is on record."""
        labels = (key.namespace, key.name)
        if turn.outcome:
            REBUILDS.labels(*labels, turn.outcome).inc()
        if turn.fences:
            self._fenced[key] = self._clock()
        if turn.opens:
            begun = self._fenced.pop(key, None)
            seconds = turn.fenced_for if begun is None else self._clock() - begun
            if seconds is not None:
                REBUILD_WRITE_PAUSE_SECONDS.labels(*labels).observe(seconds)

    def forget(self, key: Key) -> None:
        self.seen(key, None)
        self._fenced.pop(key, None)
        REBUILD_WRITE_PAUSE_SECONDS.remove(key.namespace, key.name)
        for outcome in RebuildOutcome:
            REBUILDS.remove(key.namespace, key.name, outcome)
