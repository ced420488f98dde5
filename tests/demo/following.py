"""Waiting for something to happen on the cluster, with a line that says how far it is."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from cluster import Cluster

_PERIOD_SECONDS = 0.5
_STALLED_SECONDS = 15.0
_MESSAGE_CHARACTERS = 240
_HOPELESS = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "CreateContainerConfigError")

Tell = Callable[[str], None]


class NotReadyError(Exception):
    """It did not come to be. The message is one line."""


@dataclass(frozen=True)
class Moment:
    """How far something is: one line for people, and whether it is there or cannot come."""

    line: str
    ready: bool = False
    stalled: bool = False


def follow(look: Callable[[], Moment], *, deadline_seconds: float) -> Moment:
    """Look until it is ready, showing each new line. Raises NotReadyError when stalled for a while, or too late."""
    started = time.monotonic()
    stalled_since: float | None = None
    with _live_line() as tell:
        while True:
            moment = look()
            now = time.monotonic()
            tell(moment.line)
            if moment.ready:
                return moment
            stalled_since = (stalled_since or now) if moment.stalled else None
            if stalled_since is not None and now - stalled_since > _STALLED_SECONDS:
                raise NotReadyError(moment.line)
            if now - started > deadline_seconds:
                raise NotReadyError(f"not ready after {deadline_seconds:.0f} s; last: {moment.line}")
            time.sleep(_PERIOD_SECONDS)


@contextmanager
def _live_line() -> Iterator[Tell]:
    """A line that changes in place on a terminal; elsewhere a new line for each change."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status("") as status:
            yield lambda line: status.update(Text(line, overflow="ellipsis", no_wrap=True))
        return
    last = ""

    def tell(line: str) -> None:
        nonlocal last
        if line != last:
            print(f"  {line}", file=sys.stderr, flush=True)
        last = line

    yield tell


def resource(cluster: Cluster, namespace: str, kind: str, name: str) -> Moment:
    """An object of ours: ready when what it serves is what its spec asks for."""
    live = get(cluster, namespace, kind, name)
    status, generation = live.get("status", {}), live["metadata"]["generation"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    if not conditions:
        return Moment(f"{name}: the operator has not looked at it yet")
    known = [conditions[kind] for kind in ("Ready", "UpToDate", "Stalled") if kind in conditions]
    current = all(condition.get("observedGeneration", generation) == generation for condition in known)
    true = {condition["type"] for condition in known if condition["status"] == "True"}
    told = conditions["Stalled"] if "Stalled" in true else known[0]
    progress = f" {status['progress']}" if status.get("progress") else ""
    states = " ".join(f"{condition['type']}={condition['status']}" for condition in known)
    message = textwrap.shorten(told["message"], _MESSAGE_CHARACTERS, placeholder=" …")
    line = f"{name}: {states}{progress} ({told['reason']}: {message})"
    return Moment(line, ready=current and true >= {"Ready", "UpToDate"}, stalled=current and "Stalled" in true)


def deployment(cluster: Cluster, namespace: str, name: str) -> Moment:
    """A Deployment: ready when every replica runs its present template."""
    live = get(cluster, namespace, "deployment", name)
    status, wanted = live.get("status", {}), live["spec"]["replicas"]
    observed = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
    counts = [status.get(count, 0) for count in ("updatedReplicas", "availableReplicas", "replicas")]
    ready = observed and all(count == wanted for count in counts)
    waits = [] if ready else _waiting(cluster, namespace, live["spec"]["selector"]["matchLabels"])
    line = f"{name}: {counts[1]} of {wanted} available, {counts[0]} updated{''.join(f', {wait}' for wait in waits)}"
    return Moment(line, ready=ready, stalled=any(wait in _HOPELESS for wait in waits))


def _waiting(cluster: Cluster, namespace: str, labels: dict[str, str]) -> list[str]:
    """Why containers of the newest pod wait."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = get(cluster, namespace, "pods", f"--selector={selector}")["items"]
    newest: dict[str, Any] = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default={})
    states = [container["state"] for container in newest.get("status", {}).get("containerStatuses", [])]
    return [state["waiting"]["reason"] for state in states if state.get("waiting", {}).get("reason")]


def get(cluster: Cluster, namespace: str, kind: str, name: str) -> dict[str, Any]:
    """An object as JSON. Raises ClusterError where it is not there."""
    found: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json"))
    return found
