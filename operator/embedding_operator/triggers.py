"""From watch events to keys: the only file with kopf's decorators. Handlers enqueue and write nothing."""

from collections.abc import Callable
from typing import Any

import kopf

from .build import names
from .lanes import Key
from .queue import WorkQueue
from .resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    HPA,
    NETWORK_POLICY,
    PDB,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    VECTOR_INDEX,
    Resource,
)

CHILDREN = (DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, CONFIG_MAP, HPA, PDB, NETWORK_POLICY, POD)
NOISE = {HPA: ("currentMetrics", "lastScaleTime")}
"""Members of status that change all the time and decide nothing."""

IDLE_SECONDS = 0.5
"""How long kopf keeps a task for an object after its last event: at start there is one for every object of the cluster."""

LISTED_SECONDS = 1.0
"""What kopf lists at start comes kind by kind, a model before its children: after this they are one look, not several."""


def registry(queue: WorkQueue, stopping: Callable[[], object] = lambda: None) -> kopf.OperatorRegistry:
    """Handlers for everything that can make a reconcile worthwhile. `stopping` is called when kopf begins to stop."""
    handlers = kopf.OperatorRegistry()
    _beginning_and_end(handlers, stopping)
    seen = _Seen()

    def look(type_: str | None, namespace: str, name: str) -> None:
        queue.add(Key(EMBEDDING_MODEL.kind, namespace, name), LISTED_SECONDS if type_ is None else None)

    async def on_model(type: str | None, body: kopf.RawBody, name: str, namespace: str, **_: Any) -> None:  # noqa: A002 - kopf's name
        if seen.news(type, body, with_status=False):
            look(type, namespace, name)

    async def on_child(type: str | None, body: kopf.RawBody, labels: dict[str, str], resource: kopf.Resource, **_: Any) -> None:  # noqa: A002
        owner = labels.get(names.OWNER_MODEL) or _controller(body)
        if owner and seen.news(type, body, with_status=True, plural=resource.plural):
            look(type, body["metadata"]["namespace"], owner)

    async def on_index(type: str | None, spec: dict[str, Any], namespace: str, **_: Any) -> None:  # noqa: A002
        model = spec.get("modelRef", {}).get("name")
        if model:
            look(type, namespace, model)

    _watch(handlers, EMBEDDING_MODEL, on_model)
    _watch(handlers, VECTOR_INDEX, on_index)
    for child in CHILDREN:
        _watch(handlers, child, on_child)
    return handlers


def _beginning_and_end(handlers: kopf.OperatorRegistry, stopping: Callable[[], object]) -> None:
    @kopf.on.login(registry=handlers)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**kwargs)
        return in_cluster or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        stopping()


def settings() -> kopf.OperatorSettings:
    """kopf as informer alone: no annotations, no finalizers, no events of its own, children filtered by the server."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.networking.request_timeout = 30.0
    chosen.watching.chunk_size = 100
    chosen.queueing.idle_timeout = IDLE_SECONDS
    chosen.persistence.diffbase_storage = _NothingKept()
    for child in CHILDREN:
        chosen.watching.label_selectors[_selector(child)] = names.MANAGED_SELECTOR
    return chosen


def _watch(handlers: kopf.OperatorRegistry, resource: Resource, handler: Any) -> None:
    where = (resource.group, resource.version, resource.plural) if resource.group else (resource.version, resource.plural)
    kopf.on.event(*where, registry=handlers, id=resource.plural)(handler)


def _selector(resource: Resource) -> Any:
    return (resource.group, resource.version, resource.plural) if resource.group else (resource.version, resource.plural)


class _NothingKept(kopf.DiffBaseStorage):
    """Handlers of changes would compare with the object as last handled; ours have no such past, so none is copied."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        raise NotImplementedError("the operator keeps nothing in an object's annotations")


def _controller(body: kopf.RawBody) -> str | None:
    """The owner of a child that has lost the label which names it."""
    metadata: Any = body["metadata"]
    references: list[dict[str, Any]] = metadata.get("ownerReferences", [])
    for reference in references:
        if reference.get("controller") and reference.get("kind") == EMBEDDING_MODEL.kind:
            return str(reference["name"])
    return None


class _Seen:
    """Remembers what of an object matters, so that our own status writes and an HPA's measurements wake nobody."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def news(self, type_: str | None, body: kopf.RawBody, *, with_status: bool, plural: str = "") -> bool:
        meta = body["metadata"]
        uid = str(meta.get("uid"))
        if type_ == "DELETED":
            self._digests.pop(uid, None)
            return True
        digest = names.digest([_spec_side(meta, body), _status_side(body, plural) if with_status else None])
        if self._digests.get(uid) == digest:
            return type_ is None  # listed again after a gap: look once more
        self._digests[uid] = digest
        return True


def _spec_side(meta: Any, body: kopf.RawBody) -> list[Any]:
    """A generation counts changes of spec; objects without one are compared whole."""
    kept = [meta.get("labels"), meta.get("annotations"), meta.get("ownerReferences"), meta.get("deletionTimestamp")]
    if meta.get("generation"):
        return [*kept, meta["generation"]]
    whole = {key: value for key, value in dict(body).items() if key not in ("metadata", "status")}
    return [*kept, whole]


def _status_side(body: kopf.RawBody, plural: str) -> Any:
    noise = next((members for resource, members in NOISE.items() if resource.plural == plural), ())
    status = dict(body.get("status") or {})
    return {key: value for key, value in status.items() if key not in noise}
