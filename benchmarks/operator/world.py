"""What a person does to the cluster in these measurements, and how one sees that the operator is done."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpx

from .audit import AuditLog, Call
from .process import OperatorProcess

MODELS = "/apis/embedding-operator.io/v1alpha1/namespaces/{}/embeddingmodels"
QUIET_SECONDS = 4.0
MERGE = {"Content-Type": "application/merge-patch+json"}


class World:
    """Not safe for more than one event loop."""

    def __init__(self, client: httpx.AsyncClient, audit: AuditLog) -> None:
        self._client = client
        self._audit = audit
        self.calls: list[Call] = []
        """The operator's calls, as far as they have been read."""

    async def post(self, path: str, manifest: dict[str, Any]) -> None:
        (await self._client.post(path, json=manifest)).raise_for_status()

    async def namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        await self.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})

    async def create_models(self, namespace: str, names: Sequence[str], **spec: Any) -> None:
        """All of them, as fast as the API server takes them."""
        await asyncio.gather(*(self.post(MODELS.format(namespace), _model(name, spec)) for name in names))

    async def change_model(self, namespace: str, name: str, spec: dict[str, Any]) -> float:
        """When the API server had stored it, in seconds since the epoch."""
        path = f"{MODELS.format(namespace)}/{name}"
        (await self._client.patch(path, json={"spec": spec}, headers=MERGE)).raise_for_status()
        return time.time()

    async def models(self, namespace: str) -> list[dict[str, Any]]:
        answer = await self._client.get(MODELS.format(namespace))
        answer.raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def read_calls(self) -> list[Call]:
        """The operator's calls since the last reading."""
        new = self._audit.read()
        self.calls += new
        return new

    async def converged(self, operator: OperatorProcess, namespace: str, seconds: float) -> list[Call]:
        """Waits until every model is up to date and nothing has been written for a while; the calls till then."""
        calls: list[Call] = []

        async def done() -> bool:
            operator.check()
            calls.extend(self.read_calls())
            last = max((call.ended for call in calls if call.is_write), default=0.0)
            return time.time() - last > QUIET_SECONDS and all(map(_up_to_date, await self.models(namespace)))

        await until(done, seconds, "every model is up to date")
        return calls

    async def all_looked_at(self, operator: OperatorProcess, count: int, seconds: float) -> list[Call]:
        """Waits until the operator has looked at this many models and has rested since; the calls till then."""
        calls: list[Call] = []

        async def done() -> bool:
            operator.check()
            calls.extend(self.read_calls())
            names = {call.name for call in calls if call.is_look}
            last = max((call.ended for call in calls if call.is_look), default=0.0)
            return len(names) >= count and time.time() - last > QUIET_SECONDS

        await until(done, seconds, f"{count} models were looked at")
        return calls


async def until(done: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.25)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{index:04d}" for index in range(count)]


def looked_at(calls: Iterable[Call]) -> dict[str, float]:
    """When each model's first look began."""
    first: dict[str, float] = {}
    for call in calls:
        if call.is_look:
            first.setdefault(call.name, call.began)
    return first


def _model(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    source = {"persistentVolumeClaim": {"claimName": "weights"}}
    return {
        "apiVersion": "embedding-operator.io/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name},
        "spec": {"replicas": 0, "model": {"source": source}} | spec,
    }


def _up_to_date(model: dict[str, Any]) -> bool:
    status = model.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    seen = status.get("observedGeneration") == model["metadata"]["generation"]
    return bool(seen and conditions.get("UpToDate", {}).get("status") == "True")
