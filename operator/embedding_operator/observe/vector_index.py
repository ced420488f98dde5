"""Looks at a VectorIndex: first its shards and what they say, then its route, so that no answer is newer than the route."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from embedding_serving.contract.admin import GatewayInfo
from embedding_serving.contract.route import Phase

from ..api import EmbeddingModel, VectorIndex
from ..build import names
from ..build.embedding_model import MODEL_KEY, revision_of
from ..kube import Kube, KubeError
from ..lanes import Key
from ..plan.asked import asks_for_another, lacks
from ..plan.revisions import recorded
from ..plan.snapshot import IndexSnapshot, Room, RouteRecord, SpareModel
from ..plan.world import SWITCHING
from ..resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    EVENT,
    HPA,
    JOB,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    RESOURCE_QUOTA,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    STORAGE_CLASS,
    VECTOR_INDEX,
    Manifest,
    Resource,
)
from .eyes import Eyes, without_status
from .routes import encoder, route_of

CHILDREN = (SERVICE_ACCOUNT, NETWORK_POLICY, SERVICE, STATEFUL_SET, DEPLOYMENT, HPA, PDB, JOB)
MOST_EVENTS_ASKED = 5
"""Volumes that are waited for tell much the same."""


async def observe(eyes: Eyes, namespace: str, name: str) -> IndexSnapshot | None:
    """A snapshot of a VectorIndex; None where it is gone or going. Raises KubeError, ValidationError."""
    live = await eyes.object(VECTOR_INDEX, namespace, name)
    if live is None:
        return None
    index = VectorIndex.model_validate(without_status(live))
    key = Key(VECTOR_INDEX.kind, namespace, name)
    before = eyes.familiar.recent(key)
    if before is not None:
        return await _glance(eyes, before, live, index)
    children, (pods, claims) = await eyes.family(VECTOR_INDEX, index.metadata, CHILDREN, (POD, PVC))
    own_pods = tuple(pod for pod in pods if _made_by(STATEFUL_SET, pod))
    infos = await asyncio.gather(*(eyes.data_plane.shard_info(pod) for pod in own_pods))
    events = await _claim_events(eyes, claims)
    route = await route_of(eyes.kube, namespace, name)
    named = {index.spec.model_ref.name} if index.spec.model_ref else set()
    named |= {generation.model for generation in route.route.generations if generation.model} if route.route else set()
    encoders = {model: await encoder(eyes.kube, namespace, model) for model in sorted(named)}
    snapshot = IndexSnapshot(
        index=index,
        metadata=index.metadata,
        status=live.get("status", {}),
        children=children,
        pods=own_pods,
        claims=tuple(claims),
        encoders={model: found for model, found in encoders.items() if found},
        route=route,
        infos={pod["metadata"]["name"]: info for pod, info in zip(own_pods, infos, strict=True) if info},
        claim_events=events,
        spare=await _spare(eyes.kube, index, route),
        spare_pods=tuple(pod for pod in pods if (pod["metadata"].get("labels") or {}).get(names.COMPONENT) == names.SPARE),
        analysis_pods=tuple(pod for pod in pods if _made_by(JOB, pod)),
        golden_queries=await _golden_queries(eyes, index, route),
        gateways=await _gateways(eyes, index, route),
        at=eyes.at,
        now=datetime.now(UTC),
    )
    if asks_for_another(snapshot):
        snapshot = replace(snapshot, room=await _room(eyes.kube, index))
    snapshot = replace(snapshot, has_slot=_slot(eyes, snapshot), leaving=eyes.slots.leaving)
    if route.route and route.route.phase in SWITCHING:
        eyes.familiar.note(key, snapshot)
    return snapshot


async def _glance(eyes: Eyes, before: IndexSnapshot, live: Manifest, index: VectorIndex) -> IndexSnapshot:
    """In the middle of a switch writes wait: only what decides its next step is read, in the same order."""
    _, (pods,) = await eyes.family(VECTOR_INDEX, index.metadata, (), (POD,))
    own_pods = tuple(pod for pod in pods if _made_by(STATEFUL_SET, pod))
    infos = await asyncio.gather(*(eyes.data_plane.shard_info(pod) for pod in own_pods))
    route = await route_of(eyes.kube, index.metadata.namespace, index.metadata.name)
    key = Key(VECTOR_INDEX.kind, index.metadata.namespace, index.metadata.name)
    snapshot = replace(
        before,
        index=index,
        metadata=index.metadata,
        status=live.get("status", {}),
        pods=own_pods,
        infos={pod["metadata"]["name"]: info for pod, info in zip(own_pods, infos, strict=True) if info},
        route=route,
        glance=True,
        now=datetime.now(UTC),
    )
    if route.route is None or route.route.phase not in SWITCHING:
        eyes.familiar.forget(key)
    return replace(snapshot, has_slot=_slot(eyes, snapshot), leaving=eyes.slots.leaving)


async def _spare(kube: Kube, index: VectorIndex, route: RouteRecord) -> SpareModel | None:
    """The revision that the newest generation is made with, or is to be; None where it is not known any more."""
    if index.spec.rebuild.encoders is None or route.route is None or route.route.phase in (Phase.OBSERVING, Phase.COLLECTING):
        return None
    space = index.metadata.namespace
    building = route.route.generation(route.route.other) if route.route.other is not None else None
    name = building.model if building else index.spec.model_ref.name if index.spec.model_ref else None
    live = await kube.get(EMBEDDING_MODEL, space, name) if name else None
    if live is None or name is None:
        return None
    revision = building.revision if building else live.get("status", {}).get("revision")
    try:
        owner = EmbeddingModel.model_validate(without_status(live))
    except ValidationError:
        return None
    if revision is None or revision == revision_of(owner.spec.model):
        return SpareModel(owner, owner.spec.model, revision) if revision else None
    record = await kube.get(CONFIG_MAP, space, names.embed_revision(name, revision))
    model = recorded((record or {}).get("data", {}).get(MODEL_KEY), revision)
    return SpareModel(owner, model, revision) if model else None


async def _room(kube: Kube, index: VectorIndex) -> Room:
    """What may not be read is not known: classes are the cluster's, and rights may end at the namespace."""
    quotas: list[Manifest] = []
    with contextlib.suppress(KubeError):
        quotas = await kube.list(RESOURCE_QUOTA, index.metadata.namespace)
    name, exists = index.spec.storage.storage_class_name, None
    if name:
        with contextlib.suppress(KubeError):
            exists = await kube.get(STORAGE_CLASS, "", name) is not None
    return Room(tuple(quotas), exists)


def _slot(eyes: Eyes, s: IndexSnapshot) -> bool:
    """Whether this index may rebuild; it has the slot from then on."""
    key, route = Key(VECTOR_INDEX.kind, s.metadata.namespace, s.metadata.name), s.route.route
    if route is None or route.phase in (Phase.STABLE, Phase.OBSERVING):
        eyes.slots.note(key, rebuilding=False)
        return not s.paused and asks_for_another(s) and lacks(s) is None and eyes.slots.take(key)
    eyes.slots.note(key, rebuilding=True, switching=route.phase in SWITCHING and not s.paused)
    return True


async def _gateways(eyes: Eyes, index: VectorIndex, route: RouteRecord) -> tuple[GatewayInfo, ...]:
    """Asked where it matters: how long searches take while a rebuild has a brake, whom they ask after a switch."""
    bound = index.spec.rebuild.max_search_latency_p99_milliseconds
    phase = route.route.phase if route.route else Phase.STABLE
    if not (phase is Phase.OBSERVING or (phase is Phase.BUILDING and bound is not None)):
        return ()
    label = f"{names.searches(index.metadata.name)}=true"
    pods = await eyes.kube.list(POD, index.metadata.namespace, label)
    infos = await asyncio.gather(*(eyes.data_plane.gateway_info(pod) for pod in pods))
    return tuple(info for info in infos if info)


def _made_by(resource: Resource, pod: Manifest) -> bool:
    """By its controller: labels can be copied."""
    owners = pod["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") and owner.get("kind") == resource.kind for owner in owners)


async def _golden_queries(eyes: Eyes, index: VectorIndex, route: RouteRecord) -> Manifest | None:
    """Somebody else's object, without our labels: read while a generation waits to be judged, and not watched."""
    wanted = index.spec.rebuild.pre_promotion_analysis.golden_queries
    if wanted is None or route.route is None or route.route.phase is not Phase.BUILDING:
        return None
    return await eyes.kube.get(CONFIG_MAP, index.metadata.namespace, wanted.config_map_ref.name)


async def _claim_events(eyes: Eyes, claims: list[Manifest]) -> dict[str, str]:
    """What was last told of volumes that are not there yet: their status does not say why."""
    pending = [claim for claim in claims if claim.get("status", {}).get("phase") == "Pending"][:MOST_EVENTS_ASKED]
    found: dict[str, str] = {}
    for claim in pending:
        meta = claim["metadata"]
        events = await eyes.kube.list(
            EVENT, meta["namespace"], fields=f"regarding.kind={PVC.kind},regarding.name={meta['name']}"
        )
        newest = max(events, key=lambda event: str(event["metadata"].get("creationTimestamp")), default=None)
        if newest:
            found[meta["name"]] = f"{newest.get('reason', '')}: {newest.get('note', '')}"
    return found
