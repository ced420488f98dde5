"""One look at one object: observe, plan, apply, status, events."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from . import status
from .apply import Owner, apply
from .build.installation import Installation
from .dataplane import DataPlane
from .kinds import KINDS, Kind
from .kube import Fenced, Kube, KubeError, NotFound
from .lanes import Key
from .metrics import RECONCILE_SECONDS, RECONCILES
from .observe.eyes import Eyes
from .polls import Polls
from .rebuild_metrics import RebuildMetrics
from .resources import EVENT, GROUP_VERSION, Manifest
from .slots import RebuildSlots
from .status import Condition, EventIntent

logger = logging.getLogger(__name__)

RETRY_REFUSED_SECONDS = 60.0
RETRY_STRANGER_SECONDS = 30.0
MOST_SETTLED = 10_000


class Incomplete(Exception):
    """Some writes failed in a way that may pass; the status says which."""


class Reconciler:
    """Brings the world of one key to what its object asks for. Called again and again; an unchanged world is not written to."""

    def __init__(
        self, kube: Kube, data_plane: DataPlane, at: Installation, identity: str, slots: RebuildSlots | None = None
    ) -> None:
        self._kube = kube
        self._eyes = Eyes(kube, data_plane, at, slots or RebuildSlots())
        self._identity = identity
        self._settled: set[tuple[str, str, str]] = set()
        self._polls = Polls()
        self._rebuilds = RebuildMetrics()

    async def reconcile(self, key: Key) -> float | None:
        """Answers when to look again, in seconds; None = when something happens. Raises KubeError."""
        started = time.monotonic()
        outcome = "error"
        try:
            again = await self._look(KINDS[key.kind], key)
            outcome = "ok"
            return again
        finally:
            RECONCILES.labels(key.kind, outcome).inc()
            RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)

    async def _look(self, kind: Kind[Any], key: Key) -> float | None:
        try:
            snapshot = await kind.observe(self._eyes, key.namespace, key.name)
        except ValidationError as error:
            await self._unreadable(kind, key, error)
            return None
        if snapshot is None:
            self._polls.forget(key)
            self._rebuilds.forget(key)
            return None
        snapshot = replace(snapshot, settled=frozenset(self._settled), numbers_age_seconds=self._polls.numbers_age(key))
        decided = kind.plan(snapshot)
        uid = snapshot.metadata.uid
        outcome = await apply(self._kube, self._eyes.data_plane, Owner(key.kind, key.namespace, key.name, uid), decided.steps)
        self._remember(outcome.settled)
        self._rebuilds.seen(key, decided.rebuild)
        if outcome.on_record:
            self._rebuilds.decided(key, decided.turn)
        again = decided.requeue_after_seconds
        if outcome.strangers or outcome.failures:
            told = replace(snapshot, strangers=frozenset(outcome.strangers), failures=tuple(outcome.failures))
            decided = kind.plan(told)
            again = RETRY_STRANGER_SECONDS if outcome.strangers else RETRY_REFUSED_SECONDS
        if decided.status is not None:
            await self._write_status(kind, key, dict(decided.status))
            self._polls.numbers_written(key)
        await self._tell(key, uid, decided.events)
        if outcome.worth_a_retry:
            raise Incomplete("; ".join(outcome.failures))
        return self._polls.again(key, again, decided.poll_after_seconds)

    def _remember(self, settled: set[tuple[str, str, str]]) -> None:
        """Each entry is of one state of one object, so old ones are worth nothing: forgetting them costs one apply."""
        if len(self._settled) > MOST_SETTLED:
            self._settled.clear()
        self._settled |= settled

    async def _write_status(self, kind: Kind[Any], key: Key, wanted: Manifest) -> None:
        manifest = {"metadata": {"name": key.name, "namespace": key.namespace}, "status": wanted}
        try:
            await self._kube.apply_status(kind.resource, manifest)
        except NotFound:
            logger.info("%s was deleted meanwhile", key)

    async def _unreadable(self, kind: Kind[Any], key: Key, error: ValidationError) -> None:
        """An object that the CRD let pass and the models do not: an older or newer CRD is installed."""
        live = await self._kube.get(kind.resource, key.namespace, key.name)
        if live is None:
            return
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        text = f"{path}: {first['msg']}: change it, or install the CRDs of this operator's version"
        decided = [Condition("Stalled", "True", "InvalidSpec", text)]
        previous: list[dict[str, Any]] = live.get("status", {}).get("conditions", [])
        merged = status.merge(previous, decided, live["metadata"]["generation"], datetime.now(UTC))
        others = [condition for condition in previous if condition["type"] not in ("Stalled", "Reconciling")]
        if [c for c in previous if c["type"] == "Stalled"] != merged:
            await self._write_status(kind, key, live.get("status", {}) | {"conditions": [*others, *merged]})
            await self._tell(key, live["metadata"]["uid"], status.transitions(previous, decided))

    async def _tell(self, key: Key, uid: str, events: Sequence[EventIntent]) -> None:
        for event in events:
            try:
                await self._kube.post(EVENT, _event(key, uid, event, self._identity))
            except Fenced:
                raise
            except KubeError as error:
                logger.info("event %s of %s was not recorded: %s", event.reason, key, error)


def _event(key: Key, uid: str, event: EventIntent, identity: str) -> Manifest:
    now = datetime.now(UTC)
    return {
        "metadata": {"name": f"{key.name}.{time.time_ns():x}", "namespace": key.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "embedding-operator.io/operator",
        "reportingInstance": identity[:128],
        "action": "Reconcile",
        "reason": event.reason,
        "type": event.type,
        "note": event.message,
        "regarding": {
            "apiVersion": GROUP_VERSION,
            "kind": key.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": uid,
        },
    }
