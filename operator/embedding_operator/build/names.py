"""Names and labels of the children: the one place that knows them."""

import hashlib
import json
from typing import Any

from ..api import EmbeddingModel
from ..resources import EMBEDDING_MODEL, GROUP, Manifest, Resource

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
MANAGER = "embedding-operator"
OWNER_MODEL = f"{GROUP}/embeddingmodel"
REVISION = f"{GROUP}/revision"
INTENT_HASH = f"{GROUP}/intent-hash"
"""Annotation: hash of the manifest last applied, so that a field that has left the intent is seen to have left."""
PAUSED = f"{GROUP}/paused"

MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"


def embed(model: str) -> str:
    """Service for people, ServiceAccount and NetworkPolicy of an EmbeddingModel."""
    return f"{model}-embed"


def embed_revision(model: str, revision: str) -> str:
    """Deployment, headless Service, HPA, PDB and record of one revision."""
    return f"{model}-embed-{revision}"


def model_labels(model: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: "embed", INSTANCE: model, OWNER_MODEL: model}


def revision_labels(model: str, revision: str) -> dict[str, str]:
    return model_labels(model) | {REVISION: revision}


def revision_selector(model: str, revision: str) -> dict[str, str]:
    """Never changes for a revision: a Deployment's selector is immutable."""
    return {COMPONENT: "embed", INSTANCE: model, REVISION: revision}


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def owned(model: EmbeddingModel, name: str, labels: dict[str, str]) -> Manifest:
    """Metadata of a child: same namespace, and gone with its owner."""
    return {
        "name": name,
        "namespace": model.metadata.namespace,
        "labels": labels,
        "ownerReferences": [_owner(EMBEDDING_MODEL, model.metadata.name, model.metadata.uid)],
    }


def _owner(resource: Resource, name: str, uid: str) -> Manifest:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
