"""Looks at an EmbeddingModel: its children, its pods and what they say, and who reads from which revision."""

import asyncio
from datetime import UTC, datetime

from ..api import EmbeddingModel
from ..build import names
from ..plan.revisions import spokesman
from ..plan.snapshot import ModelSnapshot
from ..resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    HPA,
    NETWORK_POLICY,
    PDB,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Manifest,
)
from .eyes import Eyes, without_status
from .revision_users import revision_users

CHILDREN = (SERVICE_ACCOUNT, NETWORK_POLICY, CONFIG_MAP, SERVICE, DEPLOYMENT, HPA, PDB)


async def observe(eyes: Eyes, namespace: str, name: str) -> ModelSnapshot | None:
    """A snapshot of an EmbeddingModel; None where it is gone or going. Raises KubeError, ValidationError."""
    live = await eyes.object(EMBEDDING_MODEL, namespace, name)
    if live is None:
        return None
    model = EmbeddingModel.model_validate(without_status(live))
    (children, (pods,)), users = await asyncio.gather(
        eyes.family(EMBEDDING_MODEL, model.metadata, CHILDREN, (POD,)),
        revision_users(eyes.kube, namespace, name),
    )
    own_pods = tuple(pod for pod in pods if _of_deployment(pod, name))
    speakers = [pod for pod in (spokesman(group) for group in _by_revision(own_pods)) if pod]
    answers = await asyncio.gather(*(eyes.data_plane.info(pod) for pod in speakers))
    silent = [pod for pod, info in zip(speakers, answers, strict=True) if info is None]
    return ModelSnapshot(
        model=model,
        metadata=model.metadata,
        status=live.get("status", {}),
        children=children,
        pods=own_pods,
        users=users,
        at=eyes.at,
        now=datetime.now(UTC),
        infos={pod["metadata"]["uid"]: info for pod, info in zip(speakers, answers, strict=True) if info},
        ask_again_seconds=min((eyes.data_plane.patience(pod) for pod in silent), default=None),
    )


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
