"""EmbeddingModel: a text encoder or a re-ranker, pinned to exact weights."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from embedding_serving.contract.model import EngineName, Normalize, Pooling, Precision, SelfCheck, Task

from .autoscaling import Autoscaling
from .cel import Rule, list_map
from .quantity import PositiveQuantity
from .resource import OneOf, Part, Resource, Status
from .shared import Cache, ClaimReference, PodOverrides, Resources, SecretReference
from .values import (
    Commit,
    Count,
    DataKey,
    DownloadURL,
    FilePath,
    Fraction,
    HubRepository,
    Message,
    ObjectName,
    PinnedImage,
    Rate,
    Replicas,
    Sha256,
    Text,
)

Prefix = Annotated[str, Field(max_length=4096)]


class TokenReference(Part):
    """A Secret of the same namespace that holds an access token."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey = "token"
    """Key of the Secret whose value is the token."""


class HuggingFaceSource(Part):
    """A repository of the hub that the operator was installed with, pinned to one commit. Only safetensors are read."""

    repo: HubRepository
    """Repository, such as sentence-transformers/all-MiniLM-L6-v2."""
    revision: Commit
    """Commit of the repository, all 40 hex digits."""
    token_secret_ref: TokenReference | None = None
    """Token for private and gated repositories; it is sent to the hub's URL alone."""


class ImageSource(Part):
    """Model files in a container image, copied by an init container of that image, which must have cp."""

    reference: PinnedImage
    """The image, pinned by digest."""
    path: Annotated[FilePath, Rule("self != '/'", "must be the model's directory: / would copy the system, /proc included")]
    """Directory in the image that holds the model's files, such as /model."""


class ClaimSource(Part):
    """Model files on a PersistentVolumeClaim of the same namespace, mounted read-only. New weights need a new path."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: FilePath = "/"
    """Directory on the volume that holds the model's files."""


class HTTPSource(Part):
    """A tar archive, compressed or not, behind a URL."""

    url: DownloadURL
    """Where the archive lies."""
    sha256: Sha256
    """SHA-256 of the archive."""


class OpenAISource(Part):
    """A model behind another service's OpenAI-compatible API. This version does not serve it and says so in status."""

    model: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the model in that service."""
    secret_ref: SecretReference
    """Secret with the keys baseURL and apiKey. The URL lies there too, so that a changed URL cannot collect keys."""


class Source(OneOf):
    """Where the model's files come from: exactly one of the members."""

    hugging_face: HuggingFaceSource | None = None
    image: ImageSource | None = None
    persistent_volume_claim: ClaimSource | None = None
    http: HTTPSource | None = None
    open_ai: OpenAISource | None = None


class Model(Part):
    """What decides the vectors. A change here, credentials aside, is a new revision that stands beside the old one."""

    rules: ClassVar = (
        *(
            Rule(
                f"!has(self.{member}) || self.{member} == 'Auto' || !has(self.task) || self.task == 'Embed'",
                "is for task Embed alone, a re-ranker has no vectors: remove it",
                member=member,
            )
            for member in ("pooling", "normalize")
        ),
        Rule(
            "!has(self.dimensions) || !has(self.task) || self.task == 'Embed'",
            "is for task Embed alone, a re-ranker has no vectors: remove it",
            member="dimensions",
        ),
        Rule(
            "!has(self.queryPrefix) || !has(self.task) || self.task == 'Embed'",
            "is for task Embed alone: remove it",
            member="queryPrefix",
        ),
        Rule(
            "!has(self.documentPrefix) || !has(self.task) || self.task == 'Embed'",
            "is for task Embed alone: remove it",
            member="documentPrefix",
        ),
    )

    source: Source
    task: Task = Task.EMBED
    """Embed makes vectors of texts, Rerank scores texts against a query."""
    pooling: Pooling = Pooling.AUTO
    """How token vectors become one; Auto = what the model's own files say."""
    normalize: Normalize = Normalize.AUTO
    """Whether vectors are scaled to length 1; Auto = what the model's own files say."""
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Cut vectors to this length (Matryoshka models); absent = the model's own."""
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Cut texts to this many tokens; absent = the model's own."""
    query_prefix: Prefix | None = None
    """Put before every query, such as "query: "; empty = nothing, absent = what the model's own files say."""
    document_prefix: Prefix | None = None
    """Put before every document, such as "passage: "; empty = nothing, absent = what the model's own files say."""
    precision: Precision = Precision.FLOAT32
    """Number format of weights and arithmetic. Int8 is for the CPU engines: weights alone, one scale per output."""


class Runtime(Part):
    """How the model is run. A change rolls out in place."""

    engine: EngineName = EngineName.AUTO
    """Inference engine; Auto = the fastest for the pod's hardware that passes the self-check. This version has no Triton
    and says so in status."""
    max_batch_tokens: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Padded tokens of one batch; absent = the engine's best."""
    max_queued_tokens: Annotated[int, Field(ge=1, le=1_073_741_824)] | None = None
    """Tokens that may wait in one pod; beyond, requests are answered 429. Absent = 65536."""
    self_check: SelfCheck = SelfCheck.ENFORCE
    """What happens when vectors differ from the 32-bit reference: Enforce refuses to serve, Warn says so."""


class Weights(OneOf):
    """Where prepared files lie: on a claim that all pods share, or on scratch space of a given size."""

    persistent_volume_claim: ClaimReference | None = None
    """A claim of the same namespace, writable; restarts and other pods reuse what lies there."""
    size: PositiveQuantity | None = None
    """Most scratch space of a pod."""


class Strategy(StrEnum):
    SURGE = "Surge"
    RECREATE = "Recreate"


class Rollout(Part):
    """How in-place changes reach the pods. A revision that an index reads from is never stopped for another one."""

    strategy: Strategy = Strategy.SURGE
    """Surge starts a new pod before it stops an old one and needs room for one more; Recreate stops first, and requests
    fail meanwhile."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1_800
    """After this long without progress, status says Stalled."""


class ModelRateLimit(Part):
    """Limits per client; beyond, requests are answered 429."""

    requests_per_minute: Rate | None = None
    """Requests per client and minute; absent = unlimited."""
    tokens_per_minute: Rate | None = None
    """Tokens per client and minute; absent = unlimited."""


class EmbeddingModelSpec(Part):
    """What to serve, and how."""

    model: Model
    runtime: Runtime = Runtime()
    weights: Weights | None = None
    """Where prepared files lie; absent = scratch space of each pod."""
    replicas: Replicas = 1
    """Number of pods; 0 = stopped. Ignored while autoscaling is given."""
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    pod: PodOverrides = PodOverrides()
    rollout: Rollout = Rollout()
    cache: Cache = Cache()
    """Vectors that are kept for reuse. An outage of the cache makes answers slower, never wrong."""
    rate_limit: ModelRateLimit = ModelRateLimit()


class RevisionState(StrEnum):
    PREPARING = "Preparing"
    READY = "Ready"
    RETAINED = "Retained"
    FAILED = "Failed"


class RevisionStatus(Part):
    """One value of spec.model that pods stand for."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """8 hex digits, the hash of spec.model without credentials."""
    state: RevisionState
    """Preparing, Ready, Retained (something still uses it) or Failed."""
    fingerprint: Text | None = None
    """Names the vector space; vectors of two fingerprints can't be compared. Known once the model is prepared."""
    engine: EngineName | None = None
    """Engine that runs."""
    self_check_cosine: Fraction | None = None
    """Mean cosine of the engine's vectors with the 32-bit reference."""
    tokens_per_second: Count | None = None
    """What one pod embeds, about: measured when it started, in full batches."""
    replicas: Count | None = None
    """Pods of this revision."""
    ready_replicas: Count | None = None
    """Pods that serve."""
    used_by: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    """What still reads from it, such as VectorIndex/docs."""
    message: Message | None = None
    """What is the matter with it, and what to do."""


class EmbeddingModelStatus(Status):
    """What the operator found and did."""

    replicas: Count | None = None
    """Pods of all revisions."""
    ready_replicas: Count | None = None
    """Pods that serve."""
    selector: Text | None = None
    """Label selector of the pods, for the scale subresource."""
    revision: Text | None = None
    """The revision that the stable Service sends requests to."""
    fingerprint: Text | None = None
    """Vector space of that revision."""
    dimensions: Count | None = None
    """Length of its vectors."""
    engine: EngineName | None = None
    """Engine that runs it."""
    endpoint: Text | None = None
    """URL inside the cluster."""
    revisions: Annotated[tuple[RevisionStatus, ...], Field(max_length=64), list_map("name")] = ()
    """Every revision that stands."""


class EmbeddingModel(Resource[EmbeddingModelSpec, EmbeddingModelStatus]):
    """A text encoder or a re-ranker, pinned to exact weights and served by pods with an OpenAI-compatible API."""

    kind: Literal["EmbeddingModel"] = "EmbeddingModel"
    status: EmbeddingModelStatus = EmbeddingModelStatus()
