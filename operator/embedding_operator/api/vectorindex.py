"""VectorIndex: a durable set of documents, searchable by vector, filter and keyword."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from embedding_serving.contract.index import Acknowledge, Distance, FieldType, IndexType

from .autoscaling import Autoscaling
from .cel import Rule, list_map
from .quantity import PositiveQuantity
from .rebuild import Rebuild
from .resource import Part, Resource
from .shared import ModelReference, PodOverrides, Resources
from .values import ObjectName
from .vectorindexstatus import VectorIndexStatus


class IndexParameters(Part):
    """Expert settings of an index type; what is absent is calibrated."""

    lists: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Clusters of IVFFlat, IVFPQ and ScaNN."""
    m: Annotated[int, Field(ge=2, le=256)] | None = None
    """Links per node of HNSW."""
    ef_construction: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Search width while HNSW is built."""
    subquantizers: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Codes per vector of IVFPQ and PQFastScan; must divide the dimension."""


def _only_with(member: str, *types: IndexType) -> Rule:
    names = ", ".join(f"'{type_}'" for type_ in types)
    return Rule(
        f"!has(self.parameters) || !has(self.parameters.{member}) || (has(self.type) && self.type in [{names}])",
        f"belongs to type {' or '.join(types)}: set that type or remove it",
        member=f"parameters.{member}",
    )


class Index(Part):
    """The approximate index of each shard. A change is made in place: a shard builds the new one and swaps it."""

    rules: ClassVar = (
        _only_with("lists", IndexType.IVF_FLAT, IndexType.IVF_PQ, IndexType.SCANN),
        _only_with("m", IndexType.HNSW),
        _only_with("efConstruction", IndexType.HNSW),
        _only_with("subquantizers", IndexType.IVF_PQ, IndexType.PQ_FAST_SCAN),
    )

    type: IndexType = IndexType.AUTO
    """Kind of index; Auto = by the number of documents."""
    target_recall_percent: Annotated[int, Field(ge=1, le=100)] = 97
    """Share of the true nearest neighbours that a search should find."""
    parameters: IndexParameters = IndexParameters()


class FilterField(Part):
    """A member of the documents' metadata that searches may filter by."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=63),
        Rule(
            "self.matches('^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)*$')",
            "must be a metadata member such as price or author.name: letters, digits, underscores, dots between",
        ),
    ]
    """Name of the member; dots lead into objects."""
    type: FieldType
    """What it holds."""


class ReclaimPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Storage(Part):
    """Volumes of the shards, one for each copy."""

    rules: ClassVar = (
        Rule(
            "!isQuantity(string(self.size)) || !isQuantity(string(oldSelf.size)) || "
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "may only grow: set it back to at least its former value",
            member="size",
        ),
    )

    size: PositiveQuantity
    """Size of each volume; may only grow, and only where the storage class allows it."""
    storage_class_name: ObjectName | None = None
    """StorageClass; absent = the cluster's default. A change builds a new generation."""
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """What happens to the volumes when the VectorIndex is deleted."""


class VectorIndexSpec(Part):
    """What to keep, and how."""

    rules: ClassVar = (
        Rule(
            "has(self.modelRef) != has(self.dimensions)",
            "needs exactly one of modelRef (documents are texts) and dimensions (clients bring vectors)",
        ),
        Rule(
            "has(self.modelRef) == has(oldSelf.modelRef)",
            "can't change between modelRef and dimensions: create another VectorIndex and move the documents",
        ),
        Rule(
            "!has(self.dimensions) || !has(oldSelf.dimensions) || self.dimensions == oldSelf.dimensions",
            "is immutable: create another VectorIndex and move the documents",
            member="dimensions",
        ),
        Rule(
            "(has(self.distance) ? self.distance : 'Cosine') == (has(oldSelf.distance) ? oldSelf.distance : 'Cosine')",
            "is immutable: create another VectorIndex and move the documents",
            member="distance",
        ),
        Rule(
            "!has(self.acknowledge) || self.acknowledge != 'Follower' || (has(self.replicas) && self.replicas >= 2)",
            "Follower needs a follower: set replicas to 2 or more",
            member="acknowledge",
        ),
        Rule(
            "!has(self.autoscaling) || (has(self.autoscaling.minReplicas) ? self.autoscaling.minReplicas : 1) >= "
            "(has(self.replicas) ? self.replicas : 1)",
            "must be at least replicas: raise it or lower replicas",
            member="autoscaling.minReplicas",
        ),
        Rule(
            "!has(self.autoscaling) || self.autoscaling.maxReplicas <= 20",
            "must be at most 20: every copy reads the writer's feed",
            member="autoscaling.maxReplicas",
        ),
        Rule(
            "has(self.modelRef) || !has(self.rebuild) || !has(self.rebuild.encoders)",
            "embeds documents again and needs modelRef: remove it",
            member="rebuild.encoders",
        ),
    )

    model_ref: ModelReference | None = None
    """The EmbeddingModel that embeds documents and queries. Naming another one starts a rebuild."""
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Length of the vectors that clients bring, in place of modelRef; immutable."""
    distance: Distance = Distance.COSINE
    """How vectors are compared; immutable."""
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    """Parts that the documents are spread over. A change builds a new generation."""
    replicas: Annotated[int, Field(ge=1, le=20)] = 1
    """Copies of each shard, the writer included."""
    acknowledge: Acknowledge = Acknowledge.WRITER
    """When a write counts as done: the writer has synced it, or a follower too, which survives the loss of a volume."""
    autoscaling: Autoscaling | None = None
    """Scales the copies of each shard; minReplicas is at least replicas."""
    index: Index = Index()
    fields: Annotated[tuple[FilterField, ...], Field(max_length=64), list_map("name")] = ()
    """Members of the documents' metadata to index for filters."""
    storage: Storage
    rebuild: Rebuild = Rebuild()
    resources: Resources = Resources()
    """CPU and memory of the shard container."""
    pod: PodOverrides = PodOverrides()
    """Scheduling and labelling of the shard pods."""


class VectorIndex(Resource[VectorIndexSpec, VectorIndexStatus]):
    """A durable set of documents, searchable by vector, filter and keyword, that survives a change of its model."""

    kind: Literal["VectorIndex"] = "VectorIndex"
    status: VectorIndexStatus = VectorIndexStatus()
