"""Looks at a SearchService: its gateways and what they say, the index and model that it reads from, and the route."""

import asyncio
from datetime import UTC, datetime

from ..api import SearchService
from ..kube import Kube, NotFound
from ..plan.snapshot import IndexView, ServiceSnapshot
from ..resources import (
    DEPLOYMENT,
    HPA,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    PDB,
    POD,
    SEARCH_SERVICE,
    SERVICE,
    SERVICE_ACCOUNT,
    VECTOR_INDEX,
    Manifest,
)
from .eyes import Eyes, without_status
from .routes import encoder, route_of

CHILDREN = (SERVICE_ACCOUNT, NETWORK_POLICY, SERVICE, DEPLOYMENT, HPA, PDB, INGRESS)


async def observe(eyes: Eyes, namespace: str, name: str) -> ServiceSnapshot | None:
    """A snapshot of a SearchService; None where it is gone or going. Raises KubeError, ValidationError."""
    live = await eyes.object(SEARCH_SERVICE, namespace, name)
    if live is None:
        return None
    service = SearchService.model_validate(without_status(live))
    children, (pods,) = await eyes.family(SEARCH_SERVICE, service.metadata, CHILDREN, (POD,))
    gateway_api = True
    try:
        routes, _ = await eyes.family(SEARCH_SERVICE, service.metadata, (HTTP_ROUTE,), ())
        children = children.joined(routes)
    except NotFound:
        gateway_api = False
    own_pods = tuple(pod for pod in pods if _of_deployment(pod))
    infos = await asyncio.gather(*(eyes.data_plane.gateway_info(pod) for pod in own_pods))
    rerank = service.spec.rerank
    return ServiceSnapshot(
        service=service,
        metadata=service.metadata,
        status=live.get("status", {}),
        children=children,
        pods=own_pods,
        infos={pod["metadata"]["name"]: info for pod, info in zip(own_pods, infos, strict=True) if info},
        index=await _index(eyes.kube, namespace, service.spec.index_ref.name),
        route=(await route_of(eyes.kube, namespace, service.spec.index_ref.name)).route,
        reranker=await encoder(eyes.kube, namespace, rerank.model_ref.name) if rerank else None,
        gateway_api=gateway_api,
        at=eyes.at,
        now=datetime.now(UTC),
    )


async def _index(kube: Kube, namespace: str, name: str) -> IndexView | None:
    live = await kube.get(VECTOR_INDEX, namespace, name)
    if live is None:
        return None
    ready: Manifest = next((one for one in live.get("status", {}).get("conditions", []) if one["type"] == "Ready"), {})
    return IndexView(ready=ready.get("status") == "True", message=ready.get("message", "the operator has not looked at it yet"))


def _of_deployment(pod: Manifest) -> bool:
    """Made by a ReplicaSet: labels can be copied."""
    owners = pod["metadata"].get("ownerReferences", [])
    return any(owner.get("kind") == "ReplicaSet" for owner in owners)
