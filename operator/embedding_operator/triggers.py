"""From watch events to keys: the only file with kopf's decorators. Handlers enqueue and write nothing."""

from collections.abc import Callable, Iterable
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
    INGRESS,
    JOB,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    SEARCH_SERVICE,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    VECTOR_INDEX,
    Resource,
)

OWNERS = (EMBEDDING_MODEL, VECTOR_INDEX, SEARCH_SERVICE)
CHILDREN = (
    DEPLOYMENT,
    STATEFUL_SET,
    JOB,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    HPA,
    PDB,
    NETWORK_POLICY,
    INGRESS,
    PVC,
    POD,
)
KINDS_BY_PLURAL = {owner.plural: owner.kind for owner in OWNERS}
NOISE = {HPA: ("currentMetrics", "lastScaleTime"), VECTOR_INDEX: ("documents", "bytes", "recall", "shards")}
"""Members of status that change all the time and decide nothing."""

IDLE_SECONDS = 0.5
"""How long kopf keeps a task for an object after its last event: at start there is one for every object of the cluster."""

LISTED_SECONDS = 1.0
"""What kopf lists at start comes kind by kind, a model before its children: after this they are one look, not several."""


def registry(queue: WorkQueue, stopping: Callable[[], object] = lambda: None) -> kopf.OperatorRegistry:
    """Handlers for everything that can make a reconcile worthwhile. `stopping` is called when kopf begins to stop."""
    handlers = kopf.OperatorRegistry()
    _beginning_and_end(handlers, stopping)
    seeing = _Seeing(queue)
    for owner in OWNERS:
        _watch(handlers, owner, seeing.owner)
    for child in CHILDREN:
        _watch(handlers, child, seeing.child)
    return handlers


class _Seeing:
    """What an event means: whose turn it is to be looked at."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._seen = _Seen()
        self._references = _References()

    async def owner(self, type: str | None, body: kopf.RawBody, resource: kopf.Resource, **_: Any) -> None:  # noqa: A002 - kopf's name
        key = _key(KINDS_BY_PLURAL[resource.plural], body)
        named = self._references.note(key, body, gone=type == "DELETED")
        if self._seen.news(type, body, with_status=False):
            self._look(type, {key} | {other for other in named if other.kind == EMBEDDING_MODEL.kind})
        if self._seen.news(type, body, with_status=True, plural=resource.plural):
            self._look(type, self._references.to(key))

    async def child(self, type: str | None, body: kopf.RawBody, resource: kopf.Resource, **_: Any) -> None:  # noqa: A002
        if not self._seen.news(type, body, with_status=True, plural=resource.plural):
            return
        keys = _concerned(body)
        self._look(type, keys)
        if resource.plural == CONFIG_MAP.plural:  # a route: those who search by it want it at once
            self._look(type, {user for key in keys for user in self._references.to(key)})

    def _look(self, type_: str | None, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key, LISTED_SECONDS if type_ is None else None)


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


def _key(kind: str, body: kopf.RawBody) -> Key:
    return Key(kind, str(body["metadata"]["namespace"]), str(body["metadata"]["name"]))


def _concerned(body: kopf.RawBody) -> set[Key]:
    """The owner of a child, by label or, where it has lost that, by reference; and the models that it reads from."""
    metadata: Any = body["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    namespace = metadata["namespace"]
    found = {Key(owner.kind, namespace, labels[label]) for owner in OWNERS if (label := names.owner_label(owner)) in labels}
    found |= {Key(EMBEDDING_MODEL.kind, namespace, model) for model in names.models_used(labels)}
    for reference in metadata.get("ownerReferences") or []:
        if reference.get("controller") and reference.get("kind") in {owner.kind for owner in OWNERS}:
            found.add(Key(reference["kind"], namespace, reference["name"]))
    return found


class _References:
    """Which objects name which others in their spec, so that news of the one is a look at the other."""

    def __init__(self) -> None:
        self._of: dict[Key, frozenset[Key]] = {}
        self._to: dict[Key, set[Key]] = {}

    def note(self, key: Key, body: kopf.RawBody, *, gone: bool) -> frozenset[Key]:
        """What the object names, or named until just now."""
        spec: dict[str, Any] = {} if gone else body.get("spec") or {}
        named = {
            (EMBEDDING_MODEL, (spec.get("modelRef") or {}).get("name")),
            (EMBEDDING_MODEL, ((spec.get("rerank") or {}).get("modelRef") or {}).get("name")),
            (VECTOR_INDEX, (spec.get("indexRef") or {}).get("name")),
            (VECTOR_INDEX, (spec.get("fallbackIndexRef") or {}).get("name")),
        }
        now = frozenset(Key(resource.kind, key.namespace, name) for resource, name in named if name)
        before = self._of.pop(key, frozenset())
        for other in before:
            self._to[other].discard(key)
            if not self._to[other]:
                del self._to[other]
        if now:
            self._of[key] = now
        for other in now:
            self._to.setdefault(other, set()).add(key)
        return before | now

    def to(self, key: Key) -> frozenset[Key]:
        """What names the object."""
        return frozenset(self._to.get(key, ()))


class _Seen:
    """Remembers what of an object matters, so that our own status writes and an HPA's measurements wake nobody."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, bool], str] = {}

    def news(self, type_: str | None, body: kopf.RawBody, *, with_status: bool, plural: str = "") -> bool:
        meta = body["metadata"]
        uid = str(meta.get("uid"))
        if type_ == "DELETED":
            self._digests.pop((uid, with_status), None)
            return True
        digest = names.digest([_spec_side(meta, body), _status_side(body, plural) if with_status else None])
        if self._digests.get((uid, with_status)) == digest:
            return type_ is None  # listed again after a gap: look once more
        self._digests[uid, with_status] = digest
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
