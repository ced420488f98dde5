"""Names and labels of the children: the one place that knows them."""

import hashlib
import json
from typing import Any

from ..api.resource import Metadata
from ..resources import EMBEDDING_MODEL, GROUP, SEARCH_SERVICE, VECTOR_INDEX, Manifest, Resource

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
EMBED = "embed"
"""Component of the pods of an EmbeddingModel."""
SPARE = "spare-encoder"
"""Component of the pods that embed for a rebuild alone."""
ANALYSIS = "analysis"
"""Component of the pods that compare two generations."""
MANAGER = "embedding-operator"
REVISION = f"{GROUP}/revision"
INTENT_HASH = f"{GROUP}/intent-hash"
"""Annotation: hash of the manifest last applied, so that a field that has left the intent is seen to have left."""
USES = f"{GROUP}/uses-"
"""Start of a label: the object reads from an EmbeddingModel of the name that follows."""
PAUSED = f"{GROUP}/paused"

PHASE = f"{GROUP}/phase"
"""Label of a route: its phase, so that those in the middle of a switch are found first."""
REBUILD = f"{GROUP}/rebuild"
"""Annotation of a VectorIndex: a new value asks for a new generation though nothing else has changed."""
PROMOTE = f"{GROUP}/promote"
"""Annotation: the generation that was built and is to be switched to. Those below name that generation too."""
ABORT = f"{GROUP}/abort"
PAUSE = f"{GROUP}/pause"
RESUME = f"{GROUP}/resume"
ROLLBACK = f"{GROUP}/rollback"
"""Annotation: the generation that is to be left again."""
RETRY = f"{GROUP}/retry"
"""Annotation: the generation that was turned down, aborted or left; it may be tried again."""
ACCEPT_DATA_LOSS = f"{GROUP}/accept-data-loss"
"""Annotation of a VectorIndex: the generation of which shards that lost their volume may be opened with what they have."""
ACCEPTED = f"{GROUP}/data-loss-accepted"
"""Annotation of a route: the value of ACCEPT_DATA_LOSS that was acted upon, so that it is not a second time."""
GENERATION = f"{GROUP}/generation"
SHARD = f"{GROUP}/shard"
SEARCHES = f"{GROUP}/searches-"
"""Start of a label: the gateway pod reads from a VectorIndex of the name that follows."""

MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"


def owner_label(owner: Resource) -> str:
    """Label of a child whose value is the name of its owner."""
    return f"{GROUP}/{owner.kind.lower()}"


def embed(model: str) -> str:
    """Service for people, ServiceAccount and NetworkPolicy of an EmbeddingModel."""
    return f"{model}-embed"


def embed_revision(model: str, revision: str) -> str:
    """Deployment, headless Service, HPA, PDB and record of one revision."""
    return f"{model}-embed-{revision}"


def model_labels(model: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: EMBED, INSTANCE: model, owner_label(EMBEDDING_MODEL): model}


def model_selector(model: str) -> dict[str, str]:
    """All pods of an EmbeddingModel."""
    return {COMPONENT: EMBED, INSTANCE: model}


def revision_labels(model: str, revision: str) -> dict[str, str]:
    return model_labels(model) | {REVISION: revision}


def revision_selector(model: str, revision: str) -> dict[str, str]:
    """Never changes for a revision: a Deployment's selector is immutable."""
    return model_selector(model) | {REVISION: revision}


def shards(index: str) -> str:
    """ServiceAccount and NetworkPolicy of a VectorIndex."""
    return f"{index}-shards"


def shard(index: str, generation: int, number: int) -> str:
    """StatefulSet, headless Service, HPA and PDB of one shard."""
    return f"{index}-g{generation}-s{number}"


def route(index: str) -> str:
    """ConfigMap with the route of a VectorIndex."""
    return f"{index}-route"


def index_labels(index: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: "shard", INSTANCE: index, owner_label(VECTOR_INDEX): index}


def index_selector(index: str) -> dict[str, str]:
    """All pods of a VectorIndex."""
    return {COMPONENT: "shard", INSTANCE: index}


def shard_labels(index: str, generation: int, number: int) -> dict[str, str]:
    return index_labels(index) | {GENERATION: str(generation), SHARD: str(number)}


def shard_selector(index: str, generation: int, number: int) -> dict[str, str]:
    """Never changes: a StatefulSet's selector is immutable."""
    return index_selector(index) | {GENERATION: str(generation), SHARD: str(number)}


def encoders(index: str, generation: int) -> str:
    """Deployment, headless Service and NetworkPolicy of the spare encoders of a generation."""
    return f"{index}-g{generation}-encoders"


def encoders_labels(index: str, generation: int) -> dict[str, str]:
    return index_labels(index) | {COMPONENT: SPARE, GENERATION: str(generation)}


def encoders_selector(index: str, generation: int) -> dict[str, str]:
    return {COMPONENT: SPARE, INSTANCE: index, GENERATION: str(generation)}


def analysis(index: str) -> str:
    """NetworkPolicy of the pods that compare generations of a VectorIndex."""
    return f"{index}-analysis"


def analysis_job(index: str, generation: int, measures: str) -> str:
    """Job that judges a generation; `measures` is a hash of what it measures: a Job can't be changed."""
    return f"{index}-g{generation}-analysis-{measures}"


def analysis_labels(index: str) -> dict[str, str]:
    return index_labels(index) | {COMPONENT: ANALYSIS}


def analysis_selector(index: str) -> dict[str, str]:
    """All pods that compare generations of a VectorIndex."""
    return {COMPONENT: ANALYSIS, INSTANCE: index}


def gateway(service: str) -> str:
    """Everything that is made for a SearchService."""
    return f"{service}-search"


def service_labels(service: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: "gateway", INSTANCE: service, owner_label(SEARCH_SERVICE): service}


def service_selector(service: str) -> dict[str, str]:
    return {COMPONENT: "gateway", INSTANCE: service}


def searches(index: str) -> str:
    """Label of gateway pods that read from a VectorIndex."""
    return SEARCHES + index


def uses(model: str) -> str:
    """Label of what reads from an EmbeddingModel."""
    return USES + model


def models_used(labels: dict[str, str]) -> set[str]:
    """The EmbeddingModels that the object of these labels reads from."""
    return {label.removeprefix(USES) for label in labels if label.startswith(USES)}


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def owned(owner: Resource, of: Metadata, name: str, labels: dict[str, str]) -> Manifest:
    """Metadata of a child: same namespace, and gone with its owner."""
    reference = owner_reference(owner, of) | {"controller": True, "blockOwnerDeletion": True}
    return {"name": name, "namespace": of.namespace, "labels": labels, "ownerReferences": [reference]}


def owner_reference(owner: Resource, of: Metadata) -> Manifest:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": of.name, "uid": of.uid}
