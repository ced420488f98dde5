"""The admin API of shards and gateways on ADMIN_PORT: what the operator tells them, and what they say of themselves.

A message is `POST /v1/admin/<name>` with a bearer token: a JWT signed with the operator's Ed25519 key (EdDSA), of
audience `<namespace>/<pod>`, at most 60 s old. Without a valid one the answer is 401 and nothing changes. Every message
can be repeated. What a shard refuses is a 409 problem whose `code` is a Refusal.
"""

from enum import StrEnum

from pydantic import Field

from .model import Frozen
from .route import Route, ShardPosition

ADMIN_PATH = "/v1/admin"
SHARD_INFO_PATH = "/v1/info"
GATEWAY_INFO_PATH = "/v1/info"
TOKEN_SECONDS = 60
TOKEN_ISSUER = "embedding-operator.io"  # noqa: S105 - a name
TOKEN_ALGORITHM = "EdDSA"  # noqa: S105 - a name


def audience(namespace: str, pod: str) -> str:
    return f"{namespace}/{pod}"


class Mode(StrEnum):
    """Whether a shard's pod 0 takes writes. Durable."""

    CLOSED = "Closed"
    OPEN = "Open"
    FENCED = "Fenced"


class Role(StrEnum):
    WRITER = "Writer"
    FOLLOWER = "Follower"


class Refusal(StrEnum):
    """Why a shard did not do as told; the codes of problems and of error frames."""

    STALE = "stale"
    WRONG_HISTORY = "wrong_history"
    WRONG_GENERATION = "wrong_generation"
    WRONG_FINGERPRINT = "wrong_fingerprint"
    LIFTED = "lifted"
    NOT_FENCED = "not_fenced"
    NOT_PREPARED = "not_prepared"
    NOT_CAUGHT_UP = "not_caught_up"
    DIGESTS_DIFFER = "digests_differ"
    OPEN = "open"
    CLOSED = "closed"
    FENCED = "fenced"
    MOVED = "moved"
    RESET = "reset"
    NO_LEASE = "no_lease"
    REQUEST_EXPIRED = "request_expired"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    VOLUME_FULL = "volume_full"
    READ_ONLY = "read_only"
    CORRUPT = "corrupt"
    NOT_A_WRITER = "not_a_writer"
    NOT_CAUGHT_UP_READ = "position_not_reached"
    NO_FOLLOWER = "no_follower"


class Message(Frozen):
    """Common to all: A = epoch. `history` is the addressee's own, read from its info before the route was read."""

    epoch: int = Field(ge=1)
    history: str
    rebuild_id: str = ""


class Fence(Message):
    """Stop taking writes. The shard lifts the fence by itself after the deadline unless it was sealed."""

    deadline_seconds: float = Field(gt=0)


class Seal(Message):
    """From here only the operator ends the fence."""

    position: int = Field(ge=0)


class FeedSource(Frozen):
    """A feed to pull. `host` is `name:port` of the frame server; `lower`, `upper` the part of the ring that is wanted.

    `with_vectors`: take the source's vectors along (a copy of the same vector space) instead of embedding texts;
    otherwise `encoder` is the base URL of what makes vectors of the reader's own space.
    `donors`: frame servers of a generation that has vectors of the reader's space, `name:port` by shard: asked for those of
    texts that are the same there, before the encoder is.
    `position`: where to begin in a feed that was not followed before. `consumer` and `nonce`: of the lease that the source
    has opened for this reader at that position; absent where the reader opens one itself, at 0.
    """

    shard: int
    history: str
    host: str
    lower: int = 0
    upper: int = 1 << 64
    with_vectors: bool = False
    position: int = Field(default=0, ge=0)
    encoder: str | None = None
    donors: tuple[str, ...] = ()
    consumer: str | None = None
    nonce: str | None = None


def reverse_consumer(shard: int) -> str:
    """Name of the lease that `Prepare` opens for a shard of the generation that is left: for the way back."""
    return f"reverse-{shard}"


class Follow(Message):
    """Read these feeds, and no others; none = stand still. Not for a shard that takes writes or is frozen."""

    sources: tuple[FeedSource, ...]


class Pace(Message):
    """How fast rows are embedded: at most so many a second; 0 = pause, absent = as fast as the encoder takes them.

    Not durable: it is told again where `ShardInfo.build` says otherwise.
    """

    rows_per_second: float | None = Field(default=None, ge=0)


class Readmit(Message):
    """For a follower that was retired: its generation takes writes again, so that it may answer reads again."""


class Prepare(Message):
    """Freeze at these source positions or beyond, when the digests agree; leases for the way back are opened here."""

    sources: tuple[ShardPosition, ...]
    digest: str | None = None


class Retire(Message):
    """Refuse reads and writes from now on and answer with this route."""

    route: Route


class Activate(Message):
    """Open a prepared shard."""


class Unfence(Message):
    """Open a shard of the writer generation, fenced, closed or quarantined."""


class Release(Message):
    """Forget the lease of a consumer that is gone for good: what it has not read may be purged."""

    consumer: str


class Answer(Frozen):
    """What every message answers with; the fields that its message does not speak of are absent."""

    history: str
    epoch: int
    mode: Mode
    position: int | None = None
    digest: str | None = None


class SourceState(Frozen):
    """How far a shard has read one source: `cursor` in the source's positions."""

    shard: int
    history: str
    host: str
    encoder: str | None = Field(default=None, description="What its texts are embedded by; absent = vectors are taken along.")
    donors: tuple[str, ...] = ()
    cursor: int
    behind: int | None = Field(default=None, description="Rows that the source had beyond the cursor when last asked.")
    idle_seconds: float = Field(default=0.0, description="How long the cursor has stood though there may be more to read.")
    message: str | None = None


class FollowerState(Frozen):
    """A consumer of this shard's feed, by its lease."""

    consumer: str
    position: int
    seconds_since_seen: float | None = None


class FailedDocument(Frozen):
    """A document that is kept without a vector, and why."""

    id: str
    reason: str


class BuildState(Frozen):
    """A shard that embeds what it reads. rows_per_second: over the last half minute; rows, reused ones (of a donor, not among
    rows) and tokens since it started.
    """

    rows: int = 0
    reused: int = 0
    tokens: int = 0
    rows_per_second: float = 0.0
    pace: float | None = Field(default=None, description="What Pace said last.")
    failed: tuple[FailedDocument, ...] = Field(default=(), description="Some of the documents without a vector.")
    message: str | None = Field(default=None, description="What holds it up.")


class FenceState(Frozen):
    """The fence that stands: epoch of the message, and the last position of the feed below it."""

    epoch: int
    position: int


class IndexState(Frozen):
    """The approximate index of a shard at work. recall: share of the true 10 nearest in sampled queries, 0 to 1."""

    type: str
    covered: int
    depth: int
    recall: float | None = None
    building: str | None = None
    dead_rows: int = 0
    bytes: int = 0


class ShardInfo(Frozen):
    """Answer of GET /v1/info of a shard pod (no token needed: it holds no document)."""

    pod: str
    role: Role
    generation: int
    shard: int
    shards: int
    fingerprint: str
    dimensions: int
    history: str
    epoch: int
    mode: Mode
    sealed: bool = False
    prepared: int | None = Field(default=None, description="Epoch at which it was frozen.")
    prepared_at: int | None = Field(default=None, description="Its own position then.")
    fenced: FenceState | None = None
    lifted: int | None = Field(default=None, description="Epoch of the last fence that it lifted by itself.")
    opened_at: int = Field(default=0, description="Epoch at which it last began to take writes; 0 = never.")
    retired: bool = False
    ready: bool
    position: int
    digest: str
    documents: int
    tombstones: int
    failed_documents: int = 0
    text_bytes: int = Field(default=0, description="Of the texts of all documents.")
    bytes: int
    free_bytes: int
    lost: bool = Field(default=False, description="The volume is new or restored: quarantined until admitted again.")
    sources: tuple[SourceState, ...] = ()
    followers: tuple[FollowerState, ...] = ()
    build: BuildState | None = None
    index: IndexState | None = None
    fault: str | None = Field(
        default=None, description="Why it does not take writes or serve: a Refusal; the remedy is in message."
    )
    message: str | None = None
    version: str = ""


class GatewayInfo(Frozen):
    """Answer of GET /v1/info of a gateway pod."""

    service: str
    index: str
    generation: int | None = None
    epoch: int | None = None
    seq: int | None = None
    model: str | None = None
    revision: str | None = None
    fingerprint: str | None = None
    dimensions: int | None = None
    api_keys: int | None = Field(default=None, description="API keys that are known here; absent = open to all.")
    cache_available: bool | None = Field(default=None, description="Whether Redis answers; absent = none is used.")
    search_p99_ms: float | None = Field(default=None, description="Of the last 15 s; absent = too few searches to tell.")
    version: str = ""


class PushRoute(Frozen):
    """`POST /v1/admin/route` of a gateway. Taken if its seq is higher; the answer is GatewayInfo either way."""

    route: Route
