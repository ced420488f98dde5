"""From kopf's events to keys: when a model is looked at, and that nothing is written for kopf's sake."""

import asyncio
from typing import Any

import kopf

from embedding_operator import triggers
from embedding_operator.build import names
from embedding_operator.lanes import Key
from embedding_operator.queue import WorkQueue
from embedding_operator.resources import DEPLOYMENT, EMBEDDING_MODEL

M = Key(EMBEDDING_MODEL.kind, "t", "m")


class Watched:
    """The handlers of events, called as kopf calls them, and the looks that follow."""

    def __init__(self) -> None:
        self.looks: list[Key] = []
        self.looked = asyncio.Event()
        self.queue = WorkQueue(self._reconcile, concurrency=2)
        registry = triggers.registry(self.queue)
        self._handlers = {str(handler.id): handler.fn for handler in registry._watching.get_all_handlers()}

    async def _reconcile(self, key: Key) -> None:
        self.looks.append(key)
        self.looked.set()

    async def model(self, type_: str | None) -> None:
        await self._tell("embeddingmodels", type_, {"name": "m", "namespace": "t", "uid": "1", "generation": 1})

    async def child(self, type_: str | None, generation: int = 1) -> None:
        labels = {names.owner_label(EMBEDDING_MODEL): "m"}
        meta = {"name": "m-embed", "namespace": "t", "uid": "2", "generation": generation, "labels": labels}
        await self._tell("deployments", type_, meta)

    async def _tell(self, plural: str, type_: str | None, meta: dict[str, Any]) -> None:
        fn: Any = self._handlers[plural]
        resource = kopf.Resource("apps", "v1", plural, kind=DEPLOYMENT.kind, namespaced=True)
        known = {"name": meta["name"], "namespace": meta["namespace"], "labels": meta.get("labels", {})}
        await fn(type=type_, body={"metadata": meta}, resource=resource, **known)


async def looks_after(watched: Watched, seconds: float) -> list[Key]:
    working = asyncio.create_task(watched.queue.run())
    try:
        await asyncio.wait_for(watched.looked.wait(), 10)
        await asyncio.sleep(seconds)  # a second look, if there is one
        return watched.looks
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_model_and_its_children_that_are_listed_at_start_are_one_look() -> None:
    watched = Watched()

    async def children_come_later() -> None:
        await asyncio.sleep(0.3)
        await watched.child(None)

    await watched.model(None)
    listing = asyncio.create_task(children_come_later())
    assert await looks_after(watched, 0.5) == [M]
    await listing


async def test_a_change_does_not_wait_for_what_was_listed() -> None:
    watched = Watched()
    await watched.model(None)
    listed = watched.queue._due[M]
    await watched.child("MODIFIED")
    assert watched.queue._due[M] < listed


async def test_an_event_that_says_nothing_new_is_no_look() -> None:
    watched = Watched()
    await watched.child("ADDED")
    assert await looks_after(watched, 0) == [M]
    await watched.child("MODIFIED")
    assert not watched.queue._due
    await watched.child("MODIFIED", generation=2)
    assert watched.queue._due


def test_kopf_copies_no_object_to_compare_with() -> None:
    storage = triggers.settings().persistence.diffbase_storage
    body = kopf.Body({"metadata": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{}"}}, "spec": {"a": 1}})
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
