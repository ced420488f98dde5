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

    `with_vectors`: take the source's vectors along (a copy of the same vector space) instead of embedding texts.
    `position`: where to begin in a feed that was not followed before.
    """

    shard: int
    history: str
    host: str
    lower: int = 0
    upper: int = 1 << 64
    with_vectors: bool = False
    position: int = Field(default=0, ge=0)


class Follow(Message):
    sources: tuple[FeedSource, ...]


class Prepare(Message):
    """Freeze at exactly these source positions, when the digests agree."""

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
    cursor: int
    behind: int | None = Field(default=None, description="Rows that the source had beyond the cursor when last asked.")
    message: str | None = None


class FollowerState(Frozen):
    """A consumer of this shard's feed, by its lease."""

    consumer: str
    position: int
    seconds_since_seen: float | None = None


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
    prepared: int | None = None
    retired: bool = False
    ready: bool
    position: int
    digest: str
    documents: int
    tombstones: int
    failed_documents: int = 0
    bytes: int
    free_bytes: int
    lost: bool = Field(default=False, description="The volume is new or restored: quarantined until admitted again.")
    sources: tuple[SourceState, ...] = ()
    followers: tuple[FollowerState, ...] = ()
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
    version: str = ""


class PushRoute(Frozen):
    """`POST /v1/admin/route` of a gateway. Taken if its seq is higher; the answer is GatewayInfo either way."""

    route: Route
