"""Spare pods of an EmbeddingModel's revision that embed for one generation of a VectorIndex, and for nobody else."""

from embedding_serving.contract.settings import API_PORT

from ..api.embeddingmodel import EmbeddingModel, Model
from ..api.rebuild import Encoders
from ..api.shared import Resources
from ..api.vectorindex import VectorIndex
from ..resources import VECTOR_INDEX, Manifest
from . import embed_pod, names, objects
from .installation import Installation


def url(index: VectorIndex, generation: int) -> str:
    return f"http://{names.encoders(index.metadata.name, generation)}.{index.metadata.namespace}.svc:{API_PORT}"


def dressed(owner: EmbeddingModel, wanted: Encoders) -> EmbeddingModel:
    """The model with the pods that the rebuild asks for: other scheduling, other resources if any, and no limit for clients."""
    spec = owner.spec
    changes = {"pod": wanted.pod, "rate_limit": type(spec.rate_limit)()}
    if wanted.resources != Resources():
        changes["resources"] = wanted.resources
    return owner.model_copy(update={"spec": spec.model_copy(update=changes)})


def deployment(
    index: VectorIndex, generation: int, owner: EmbeddingModel, model: Model, revision: str, at: Installation
) -> Manifest:
    """`owner`: as it is dressed. Replicas are left out: they belong to the scale subresource."""
    name = index.metadata.name
    selector = names.encoders_selector(name, generation)
    labels = names.encoders_labels(name, generation)
    return {
        "metadata": _metadata(index, generation),
        "spec": {
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "revisionHistoryLimit": 1,
            "template": embed_pod.template(owner, model, revision, at, labels, selector),
        },
    }


def service(index: VectorIndex, generation: int) -> Manifest:
    selector = names.encoders_selector(index.metadata.name, generation)
    return objects.headless_service(_metadata(index, generation), selector, http=API_PORT)


def network_policy(index: VectorIndex, generation: int, owner: EmbeddingModel, model: Model, at: Installation) -> Manifest:
    """The shards of the index reach them, and they what `prepare` and the cache of the model need."""
    name = index.metadata.name
    shards = {"podSelector": {"matchLabels": names.index_selector(name)}}
    ingress = [{"from": [shards], "ports": [objects.tcp(API_PORT)]}, objects.admin_ingress(at)]
    fetches = model.source.hugging_face or model.source.http or owner.spec.cache.redis_secret_ref
    egress = [objects.DNS_EGRESS, *([objects.ANY_TCP_EGRESS] if fetches else [])]
    return objects.network_policy(_metadata(index, generation), names.encoders_selector(name, generation), ingress, egress)


def _metadata(index: VectorIndex, generation: int) -> Manifest:
    name = index.metadata.name
    labels = names.encoders_labels(name, generation)
    return names.owned(VECTOR_INDEX, index.metadata, names.encoders(name, generation), labels)
