"""The three kinds as pydantic models: what users write, what the operator reports, and the rules between.

Pure: no kopf, no Kubernetes client, no clock. The CRDs in crds/ are generated from here.
"""

from dataclasses import dataclass
from typing import Any

from .embeddingmodel import EmbeddingModel, EmbeddingModelSpec, EmbeddingModelStatus
from .resource import API_VERSION, GROUP, VERSION, Condition, Metadata, Resource
from .searchservice import SearchService, SearchServiceSpec, SearchServiceStatus
from .vectorindex import VectorIndex, VectorIndexSpec
from .vectorindexstatus import VectorIndexStatus


@dataclass(frozen=True)
class Kind:
    """A kind, its names in the API and in kubectl, and its model."""

    kind: str
    plural: str
    singular: str
    short_name: str
    model: type[Resource[Any, Any]]


EMBEDDING_MODELS = Kind("EmbeddingModel", "embeddingmodels", "embeddingmodel", "em", EmbeddingModel)
VECTOR_INDEXES = Kind("VectorIndex", "vectorindexes", "vectorindex", "vi", VectorIndex)
SEARCH_SERVICES = Kind("SearchService", "searchservices", "searchservice", "ssvc", SearchService)
KINDS = (EMBEDDING_MODELS, VECTOR_INDEXES, SEARCH_SERVICES)

__all__ = [
    "API_VERSION",
    "EMBEDDING_MODELS",
    "GROUP",
    "KINDS",
    "SEARCH_SERVICES",
    "VECTOR_INDEXES",
    "VERSION",
    "Condition",
    "EmbeddingModel",
    "EmbeddingModelSpec",
    "EmbeddingModelStatus",
    "Kind",
    "Metadata",
    "SearchService",
    "SearchServiceSpec",
    "SearchServiceStatus",
    "VectorIndex",
    "VectorIndexSpec",
    "VectorIndexStatus",
]
