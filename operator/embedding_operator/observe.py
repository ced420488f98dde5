"""Looks at the world for one key: live reads, never a cache, since a cache can hold what is long gone."""

import asyncio
from datetime import UTC, datetime

from .api import EmbeddingModel
from .build import names
from .build.installation import Installation
from .dataplane import DataPlane
from .kube import Kube
from .plan.model import Children
from .plan.revisions import spokesman
from .plan.snapshot import ModelSnapshot, RevisionUser
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
    Manifest,
)

MODEL_CHILDREN = (SERVICE_ACCOUNT, NETWORK_POLICY, CONFIG_MAP, SERVICE, DEPLOYMENT, HPA, PDB)


async def observe_model(kube: Kube, data_plane: DataPlane, at: Installation, namespace: str, name: str) -> ModelSnapshot | None:
    """A snapshot of an EmbeddingModel; None where it is gone or going. Raises KubeError, ValidationError."""
    live = await kube.get(EMBEDDING_MODEL, namespace, name)
    if live is None or live["metadata"].get("deletionTimestamp"):
        return None
    model = EmbeddingModel.model_validate({key: value for key, value in live.items() if key != "status"})
    mine = f"{names.OWNER_MODEL}={name}"
    lists = await asyncio.gather(
        *(kube.list(resource, namespace, mine) for resource in MODEL_CHILDREN),
        kube.list(POD, namespace, mine),
        kube.list(VECTOR_INDEX, namespace),
    )
    *children, pods, indexes = lists
    owned = {
        (resource, child["metadata"]["name"]): child
        for resource, found in zip(MODEL_CHILDREN, children, strict=True)
        for child in found
        if controlled_by(child, model.metadata.uid)
    }
    own_pods = tuple(pod for pod in pods if _of_deployment(pod, name))
    speakers = [pod for pod in (spokesman(group) for group in _by_revision(own_pods)) if pod]
    answers = await asyncio.gather(*(data_plane.info(pod) for pod in speakers))
    silent = [pod for pod, info in zip(speakers, answers, strict=True) if info is None]
    return ModelSnapshot(
        model=model,
        status=live.get("status", {}),
        children=Children(owned),
        pods=own_pods,
        users=tuple(user for user in (_user(index, name) for index in indexes) if user),
        at=at,
        now=datetime.now(UTC),
        infos={pod["metadata"]["uid"]: info for pod, info in zip(speakers, answers, strict=True) if info},
        ask_again_seconds=min((data_plane.patience(pod) for pod in silent), default=None),
    )


def controlled_by(child: Manifest, uid: str) -> bool:
    """Whether the object's controller is the one of this uid: labels can be copied, this reference is ours."""
    owners = child["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def _of_deployment(pod: Manifest, model: str) -> bool:
    revision = pod["metadata"].get("labels", {}).get(names.REVISION, "")
    prefix = names.embed_revision(model, revision) + "-"
    owners = pod["metadata"].get("ownerReferences", [])
    return any(owner.get("kind") == "ReplicaSet" and owner.get("name", "").startswith(prefix) for owner in owners)


def _by_revision(pods: tuple[Manifest, ...]) -> list[list[Manifest]]:
    groups: dict[str, list[Manifest]] = {}
    for pod in pods:
        groups.setdefault(pod["metadata"]["labels"][names.REVISION], []).append(pod)
    return list(groups.values())


def _user(index: Manifest, model: str) -> RevisionUser | None:
    """A VectorIndex that reads from the model. While it rebuilds, may roll back, or has not said, every revision counts."""
    if index.get("spec", {}).get("modelRef", {}).get("name") != model:
        return None
    status = index.get("status", {})
    active = status.get("active", {}).get("revision")
    settled = active and not status.get("rebuild") and not status.get("rollback")
    return RevisionUser(f"VectorIndex/{index['metadata']['name']}", frozenset({active}) if settled else None)
