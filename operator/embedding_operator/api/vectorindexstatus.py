"""What the operator reports of a VectorIndex."""

from typing import Annotated

from pydantic import Field

from .cel import list_map
from .resource import Part, Status
from .values import Count, Fraction, Message, Text, Timestamp


class ActiveGeneration(Part):
    """The generation that takes writes."""

    generation: Count
    """Its number."""
    epoch: Count
    """Epoch of the route."""
    model: Text | None = None
    """EmbeddingModel that made its vectors."""
    revision: Text | None = None
    """Revision of that model."""
    fingerprint: Text | None = None
    """Vector space."""
    shards: Count | None = None
    """Number of shards."""
    since: Timestamp | None = None
    """When it became active."""


class Estimate(Part):
    """What a rebuild is expected to cost."""

    tokens: Count | None = None
    """Tokens to embed."""
    seconds: Count | None = None
    """Duration in seconds."""
    storage: Text | None = None
    """Additional storage, as a quantity."""
    memory: Text | None = None
    """Additional memory that its pods request, as a quantity; spare encoders included."""
    gpus: Count | None = None
    """Devices (GPUs, for instance) that its pods request; spare encoders included."""


class FailedDocument(Part):
    """A document that the new generation could not take."""

    id: Text
    """Id of the document."""
    message: Message | None = None
    """Why it failed."""


class Verdict(Part):
    """What the gate before promotion found."""

    passed: bool
    """Whether the new generation may serve."""
    recall: Fraction | None = None
    """Share of the true nearest neighbours that its index finds."""
    overlap: Fraction | None = None
    """Share of the active generation's results that it returns too."""
    golden_hit: Fraction | None = None
    """Share of the golden queries that find what they should."""
    latency_increase_percent: Fraction | None = None
    """How much slower it answers."""
    message: Message | None = None
    """The verdict in words, and what to do."""


class RebuildStatus(Part):
    """The generation that is being built."""

    id: Text
    """Names this rebuild in logs and metrics."""
    cause: Text | None = None
    """What started it."""
    generation: Count
    """Number of the new generation."""
    phase: Text | None = None
    """The step under way."""
    documents: Count | None = None
    """Documents done."""
    total_documents: Count | None = None
    """Documents to do."""
    started_at: Timestamp | None = None
    """When it started."""
    eta_seconds: Count | None = None
    """Seconds left, about."""
    estimate: Estimate | None = None
    """What it is expected to cost."""
    failed_documents: Annotated[tuple[FailedDocument, ...], Field(max_length=20)] = ()
    """The first 20 documents that failed."""
    verdict: Verdict | None = None
    """What the gate found."""


class Rollback(Part):
    """The former generation, kept for going back."""

    generation: Count
    """Its number."""
    until: Timestamp | None = None
    """When it is removed."""


class Refused(Part):
    """Inputs that were built and turned down; they are not tried again until they change or a retry is asked for."""

    input_hash: Text
    """Hash of the inputs."""
    reason: Text | None = None
    """The cause in one CamelCase word."""
    message: Message | None = None
    """Why, and what to do."""


class ShardStatus(Part):
    """One shard of the active generation."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the shard."""
    writer: Text | None = None
    """Pod that takes its writes."""
    ready_replicas: Count | None = None
    """Copies that answer."""
    documents: Count | None = None
    """Documents in it."""
    follower_lag: Count | None = None
    """Changes that the slowest follower has still to read."""
    message: Message | None = None
    """What is the matter with it, and what to do."""


class VectorIndexStatus(Status):
    """What the operator found and did."""

    active: ActiveGeneration | None = None
    """The generation that takes writes."""
    rebuild: RebuildStatus | None = None
    """The generation that is being built; absent when none is."""
    rollback: Rollback | None = None
    """The former generation, while it can be gone back to."""
    refused: Refused | None = None
    """Inputs that were turned down."""
    documents: Count | None = None
    """Documents that can be found."""
    bytes: Count | None = None
    """Bytes on the volumes of the active generation's writers."""
    recall: Fraction | None = None
    """Measured share of the true nearest neighbours that searches find."""
    shards: Annotated[tuple[ShardStatus, ...], Field(max_length=256), list_map("name")] = ()
    """Every shard of the active generation."""
