"""From kopf's events to keys: when a model is looked at, and that nothing is written for kopf's sake."""

import asyncio
from typing import Any

import kopf

from embedding_operator import triggers
from embedding_operator.build import names
from embedding_operator.lanes import Key
from embedding_operator.queue import WorkQueue
from embedding_operator.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    POD,
    PVC,
    SEARCH_SERVICE,
    STATEFUL_SET,
    VECTOR_INDEX,
    Resource,
)
from fixtures.kube import embedding_model, route_map, search_service, vector_index

M = Key(EMBEDDING_MODEL.kind, "t", "m")
INDEX = Key(VECTOR_INDEX.kind, "t", "docs")
SERVICE = Key(SEARCH_SERVICE.kind, "t", "docs")


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

    async def tell(self, type_: str | None, manifest: dict[str, Any], resource: Resource, generation: int = 1) -> list[Key]:
        """An event; answers who is looked at because of it."""
        before = dict(self.queue._due)
        meta = manifest["metadata"] | {"generation": generation, "uid": f"{resource.kind}-{manifest['metadata']['name']}"}
        fn: Any = self._handlers[resource.plural]
        kind = kopf.Resource(resource.group, resource.version, resource.plural, kind=resource.kind, namespaced=True)
        await fn(type=type_, body=manifest | {"metadata": meta}, resource=kind)
        found = sorted(key for key, due in self.queue._due.items() if before.get(key) != due)
        self.queue._due.clear()
        return found

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


async def test_what_is_told_of_one_kind_is_a_look_at_those_that_depend_on_it() -> None:
    watched = Watched()
    assert await watched.tell("ADDED", vector_index(), VECTOR_INDEX) == [M, INDEX]
    assert await watched.tell("ADDED", search_service(rerank={"modelRef": {"name": "rr"}}), SEARCH_SERVICE) == [
        Key(EMBEDDING_MODEL.kind, "t", "rr"),
        SERVICE,
    ]
    model = embedding_model()
    assert await watched.tell("ADDED", model, EMBEDDING_MODEL) == [M, INDEX]
    assert await watched.tell("MODIFIED", model | {"status": {"fingerprint": "fp"}}, EMBEDDING_MODEL) == [INDEX]
    active = {"status": {"active": {"generation": 1}}}
    assert await watched.tell("MODIFIED", vector_index() | active, VECTOR_INDEX) == [SERVICE]
    numbers = {"status": {"active": {"generation": 1}, "documents": 7, "shards": []}}
    assert await watched.tell("MODIFIED", vector_index() | numbers, VECTOR_INDEX) == [], "numbers wake nobody"
    assert await watched.tell("DELETED", vector_index() | numbers, VECTOR_INDEX) == [M, SERVICE, INDEX]
    assert await watched.tell("MODIFIED", model | {"status": {"fingerprint": "fp2"}}, EMBEDDING_MODEL) == []


async def test_another_model_is_news_for_the_former_one_too() -> None:
    watched = Watched()
    await watched.tell("ADDED", vector_index(), VECTOR_INDEX)
    changed = vector_index(modelRef={"name": "n"})
    assert await watched.tell("MODIFIED", changed, VECTOR_INDEX, generation=2) == [
        M,
        Key(EMBEDDING_MODEL.kind, "t", "n"),
        INDEX,
    ]


async def test_a_new_route_is_a_look_at_index_services_and_the_models_it_names() -> None:
    watched = Watched()
    await watched.tell("ADDED", search_service(), SEARCH_SERVICE)
    route = route_map("1a2b3c4d")
    route["metadata"]["labels"]["embedding-operator.io/vectorindex"] = "docs"
    found = await watched.tell("ADDED", route, CONFIG_MAP)
    assert set(found) == {M, INDEX, SERVICE}


async def test_pods_stateful_sets_and_volumes_are_looks_at_their_index() -> None:
    watched = Watched()
    meta = {"name": "docs-g1-s0-0", "namespace": "t", "labels": {"embedding-operator.io/vectorindex": "docs"}}
    for resource in (POD, STATEFUL_SET, PVC):
        assert await watched.tell("ADDED", {"metadata": meta}, resource) == [INDEX]
