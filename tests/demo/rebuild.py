"""An index changes its model while it answers: both generations side by side, the switch, and the way back."""

from __future__ import annotations

import json
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster import Cluster
from embedding_serving.contract.route import ROUTE_KEY, Phase, Route

from .following import NotReadyError, get
from .traffic import Traffic

INDEX = "changing"
MODELS = ("minilm", "minilm-prefixed")
_PERIOD_SECONDS = 0.3
_REBUILD_SECONDS = 300.0
_SWITCH_SECONDS = 60.0
_ANNOTATION = "embedding-operator.io"


class Change:
    """One index, seen from outside."""

    def __init__(self, cluster: Cluster, namespace: str, traffic: Traffic, console: Console) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._traffic = traffic
        self._console = console
        self._begun = 0.0

    def rebuild(self) -> None:
        """Names the other model, and follows the new generation until it serves. Raises NotReadyError."""
        before = self._route()
        model = next(name for name in MODELS if name != before.active.model)
        anew = {f"{_ANNOTATION}/rebuild": str(time.time_ns())}  # a run before this one may have left it built already
        change = {"metadata": {"annotations": anew}, "spec": {"modelRef": {"name": model}}}
        self._kubectl("patch", "--type=merge", f"--patch={json.dumps(change)}")
        self._traffic.longest_write_seconds = 0.0
        asked = time.monotonic()
        with Live(console=self._console, refresh_per_second=4) as shown:
            self._until(before.next_generation, _REBUILD_SECONDS, lambda route: shown.update(self._table(route, before.writer)))
        if not self._console.is_terminal:
            self._console.print()  # there the table ends without a new line
        took = time.monotonic() - asked
        self._console.print(f"  [bold]switched[/] {took:.0f} s after the change of the spec: {self._costs()}")

    def roll_back(self) -> None:
        """Raises NotReadyError."""
        route = self._route()
        assert route.other is not None
        self._await_rollback()
        self._traffic.longest_write_seconds = 0.0
        begun = time.monotonic()
        self._kubectl("annotate", f"{_ANNOTATION}/rollback={route.writer}", "--overwrite")
        while self._traffic.generation != route.other:
            if time.monotonic() - begun > _SWITCH_SECONDS:
                raise NotReadyError(f"generation {route.other} does not answer {_SWITCH_SECONDS:.0f} s after the rollback")
            time.sleep(0.01)
        took = time.monotonic() - begun
        self._until(route.other, _SWITCH_SECONDS)
        self._console.print(f"  [bold]rolled back[/]: generation {route.other} answered after {took:.1f} s; {self._costs()}")

    def _until(self, writer: int, seconds: float, look: Any = lambda _: None) -> None:
        deadline = time.monotonic() + seconds
        while True:
            route = self._route()
            look(route)
            if route.writer == writer and route.phase is Phase.OBSERVING:
                return
            if time.monotonic() > deadline:
                raise NotReadyError(f"generation {writer} does not serve after {seconds:.0f} s: {self._waits()}")
            time.sleep(_PERIOD_SECONDS)

    def _await_rollback(self) -> None:
        deadline = time.monotonic() + _SWITCH_SECONDS
        while self._condition("RollbackAvailable").get("status") != "True":
            if time.monotonic() > deadline:
                raise NotReadyError(f"the former generation does not follow: {self._condition('RollbackAvailable')}")
            time.sleep(_PERIOD_SECONDS)

    def _table(self, route: Route, former: int) -> Group:
        status = self._status()
        rebuild = status.get("rebuild", {})
        table = Table("generation", "model", "documents", "progress", "rate", "time left", box=None)
        for one in sorted(route.generations, key=lambda one: one.generation):
            serves = one.generation == route.writer
            documents = status.get("documents") if serves else rebuild.get("documents", status.get("documents"))
            cells = ["", "", ""]
            if not serves and one.generation != former:
                left = rebuild.get("etaSeconds")
                cells = [rebuild.get("phase", ""), self._rate(documents or 0), f"{left} s" if left is not None else ""]
            progress = "serves" if serves else cells[0] or ("follows" if route.phase is Phase.OBSERVING else "")
            table.add_row(str(one.generation), str(one.model), str(documents or 0), progress, *cells[1:])
        return Group(table, Text(f"  beside it: {self._searches()}"))

    def _rate(self, documents: int) -> str:
        """Since the new generation began."""
        now = time.monotonic()
        begun = self._begun = self._begun or (now if documents else 0.0)
        seconds = now - begun if begun else 0.0
        return f"{documents / seconds:.0f}/s" if seconds > 1 and documents else ""

    def _searches(self) -> str:
        traffic = self._traffic
        return (
            f"{len(traffic.search_seconds)} searches and {traffic.writes} writes, {len(traffic.failures)} failed, "
            f"p99 of a search {traffic.p99_milliseconds:.0f} ms, answered by generation {traffic.generation}"
        )

    def _costs(self) -> str:
        return f"a write waited {self._traffic.longest_write_seconds:.2f} s at most; {self._searches()}"

    def _waits(self) -> str:
        return str(self._condition("UpToDate").get("message", "no status"))

    def _condition(self, type_: str) -> dict[str, Any]:
        return next((one for one in self._status().get("conditions", []) if one["type"] == type_), {})

    def _status(self) -> dict[str, Any]:
        return dict(get(self._cluster, self._namespace, "vectorindex", INDEX).get("status", {}))

    def _route(self) -> Route:
        live = get(self._cluster, self._namespace, "configmap", f"{INDEX}-route")
        return Route.model_validate_json(live["data"][ROUTE_KEY])

    def _kubectl(self, verb: str, *words: str) -> None:
        self._cluster.kubectl(verb, "vectorindex", INDEX, f"--namespace={self._namespace}", *words)
