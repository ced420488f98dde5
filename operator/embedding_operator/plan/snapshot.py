"""The world as one reconcile sees it, frozen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from embedding_serving.contract.admin import GatewayInfo, ShardInfo
from embedding_serving.contract.reports import ModelInfo
from embedding_serving.contract.route import Route

from ..api.embeddingmodel import EmbeddingModel, Model
from ..api.resource import Metadata
from ..api.searchservice import SearchService
from ..api.vectorindex import VectorIndex
from ..build import names
from ..build.installation import Installation
from ..resources import Manifest, Resource
from .model import Children


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at any object sees."""

    metadata: Metadata
    status: Manifest
    """The live status as the API server has it."""
    children: Children
    at: Installation
    now: datetime
    strangers: frozenset[tuple[Resource, str]] = frozenset()
    """Objects of a child's name that are not ours."""
    settled: frozenset[tuple[str, str, str]] = frozenset()
    """(uid, resourceVersion, intent hash) of objects that an apply left as they were: the server says it is so."""
    failures: tuple[str, ...] = ()
    """Writes and commands that were refused in this look."""
    numbers_age_seconds: float = math.inf
    """How old the numbers are that the status was written with: for them alone it is written now and then."""

    @property
    def paused(self) -> bool:
        return self.metadata.annotations.get(names.PAUSED) == "true"


@dataclass(frozen=True, kw_only=True)
class ModelSnapshot(Look):
    """An EmbeddingModel, everything that was made for it, and what its pods say."""

    model: EmbeddingModel
    pods: tuple[Manifest, ...]
    users: tuple["RevisionUser", ...]
    infos: Mapping[str, ModelInfo] = field(default_factory=dict)
    """Answers of /v1/info, by pod UID."""
    ask_again_seconds: float | None = None
    """When a ready pod that did not say what it serves will be asked again."""


@dataclass(frozen=True, kw_only=True)
class IndexSnapshot(Look):
    """A VectorIndex, its route, everything that was made for it, and what its shards say."""

    index: VectorIndex
    encoders: Mapping[str, "Encoder"]
    """The EmbeddingModels that the spec and the route name, where they exist."""
    route: "RouteRecord"
    """Read after the shards were asked: what they said can't be newer than it."""
    pods: tuple[Manifest, ...]
    claims: tuple[Manifest, ...]
    infos: Mapping[str, ShardInfo] = field(default_factory=dict)
    """Answers of /v1/info, by pod name."""
    gateways: tuple[GatewayInfo, ...] = ()
    """What gateways that search it say, while that matters to a rebuild."""
    glance: bool = False
    """Only pods and route were read anew: nothing is concluded from children."""
    leaving: bool = False
    """Whether this process is about to end, and begins no switch any more."""
    spare: "SpareModel | None" = None
    """What spare encoders are made from, while they are asked for and something is built or is to be."""
    spare_pods: tuple[Manifest, ...] = ()
    room: "Room" = field(default_factory=lambda: Room())
    """What another generation must fit into, while one is asked for."""
    has_slot: bool = True
    """Whether a rebuild may begin as far as others are concerned."""
    claim_events: Mapping[str, str] = field(default_factory=dict)
    """What was last told of a volume that is not there yet, by its name."""
    analysis_pods: tuple[Manifest, ...] = ()
    """Of Jobs that compare a new generation with the active one."""
    golden_queries: Manifest | None = None
    """The ConfigMap that the gate before promotion asks for, while there is something to judge; None where it is not there."""

    @property
    def model(self) -> "Encoder | None":
        """The one that the spec names."""
        reference = self.index.spec.model_ref
        return self.encoders.get(reference.name) if reference else None


@dataclass(frozen=True, kw_only=True)
class ServiceSnapshot(Look):
    """A SearchService, what was made for it, what its gateways say, and what it reads from."""

    service: SearchService
    pods: tuple[Manifest, ...]
    index: "IndexView | None"
    """None where the VectorIndex does not exist."""
    route: Route | None
    reranker: "Encoder | None"
    gateway_api: bool
    """Whether the cluster knows HTTPRoutes."""
    infos: Mapping[str, GatewayInfo] = field(default_factory=dict)
    """Answers of /v1/info, by pod name."""


@dataclass(frozen=True)
class SpareModel:
    """A revision of an EmbeddingModel, whole: `model` is the value of spec.model that it stands for."""

    owner: EmbeddingModel
    model: Model
    revision: str


@dataclass(frozen=True)
class Room:
    """quotas: ResourceQuotas of the namespace. storage_class: whether the one that the spec names exists; None = not known."""

    quotas: tuple[Manifest, ...] = ()
    storage_class: bool | None = None


@dataclass(frozen=True)
class IndexView:
    """A VectorIndex as others see it."""

    ready: bool
    message: str


@dataclass(frozen=True)
class RouteRecord:
    """The route as it lies in its ConfigMap; `live` is None where there is none."""

    live: Manifest | None = None
    route: Route | None = None
    """None also where the text is no route."""

    @property
    def resource_version(self) -> str | None:
        return str(self.live["metadata"]["resourceVersion"]) if self.live else None


@dataclass(frozen=True)
class Encoder:
    """An EmbeddingModel as others see it."""

    name: str
    task: str
    ready: bool
    message: str
    """Why it is not ready."""
    revision: str | None = None
    fingerprint: str | None = None
    dimensions: int | None = None
    ready_replicas: Mapping[str, int] = field(default_factory=dict)
    """Pods that answer, by revision."""
    tokens_per_second: Mapping[str, int] = field(default_factory=dict)
    """What one pod embeds, by revision, where it is known."""


@dataclass(frozen=True)
class RevisionUser:
    """Something that reads from revisions of the model; `revisions` is None while it has not said which."""

    name: str
    revisions: frozenset[str] | None

    def uses(self, revision: str, *, ever_prepared: bool) -> bool:
        """Nothing can read from a revision that never had vectors."""
        return ever_prepared if self.revisions is None else revision in self.revisions
