"""Heads of the requests that a shard takes, checked where they come in."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..wire.calls import Call
from ..wire.errors import BAD_REQUEST, WireError

MAX_K = 10_000
MAX_QUERIES = 1_024
MAX_IDS = 10_000
MAX_CHANGES = 4_096
MAX_PAGE_ROWS = 10_000
MAX_EMBEDDED_IDS = 1_000
MAX_WAIT_MS = 30_000

Checked = TypeVar("Checked", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Include(_Strict):
    """What documents are answered with, beside id and version."""

    text: bool = True
    metadata: bool = True
    vector: bool = False


class Space(_Strict):
    """g, f: generation and fingerprint that the caller has pinned. e: epoch of its route."""

    g: int
    f: str
    e: int = 0


class Read(Space):
    """position: what the answer must contain at least (read your writes)."""

    consistency: Literal["eventual", "strong"] = "eventual"
    position: int | None = Field(default=None, ge=0)
    canary: bool = False


class Search(Read):
    """exact: compare with every vector, and say so in the answer; for measuring what the approximate index finds.

    documents_first: of how many hits the documents are wanted; of all without it. documents_bytes: beyond so many, they are
    left out.
    """

    exact: bool = False
    k: int = Field(ge=1, le=MAX_K)
    queries: int = Field(default=1, ge=1, le=MAX_QUERIES)
    filter: Any = None
    documents: bool = False
    documents_first: int | None = Field(default=None, ge=1)
    documents_bytes: int | None = Field(default=None, ge=0)
    include: Include = Include()


class Keywords(Read):
    text: str = Field(min_length=1)
    k: int = Field(ge=1, le=MAX_K)
    filter: Any = None
    documents: bool = False
    documents_first: int | None = Field(default=None, ge=1)
    documents_bytes: int | None = Field(default=None, ge=0)
    include: Include = Include()


class Fetch(Read):
    rows: list[int] = Field(max_length=MAX_IDS)
    include: Include = Include()


class Get(Read):
    ids: list[str] = Field(max_length=MAX_IDS)
    include: Include = Include()


class Scroll(Read):
    filter: Any = None
    after: str | None = None
    limit: int = Field(default=100, ge=1, le=MAX_IDS)
    include: Include = Include()


class Count(Read):
    filter: Any = None


class Facet(Read):
    field: str = Field(min_length=1)
    filter: Any = None
    limit: int = Field(default=100, ge=1, le=MAX_IDS)


class ChangeHead(_Strict):
    op: Literal["put", "patch", "delete"]
    id: str
    text: str | None = None
    metadata: str | None = None
    if_version: str | None = None
    expires_at: int | None = None
    vector: bool = False
    failure: str | None = None
    digest: str | None = Field(default=None, max_length=64)


class Write(Space):
    request_id: str = Field(min_length=1, max_length=256)
    issued_at: int = Field(ge=0)
    acknowledge: Literal["Writer", "Follower"] | None = None
    changes: list[ChangeHead] = Field(min_length=1, max_length=MAX_CHANGES)


class DeleteByFilter(Space):
    request_id: str = Field(min_length=1, max_length=256)
    issued_at: int = Field(ge=0)
    acknowledge: Literal["Writer", "Follower"] | None = None
    filter: Any
    digest: str | None = Field(default=None, max_length=64)


class LeaseHead(_Strict):
    consumer: str = Field(min_length=1, max_length=256)
    nonce: str = Field(max_length=256)
    position: int = Field(ge=0)
    release: bool = False


class Pull(_Strict):
    """cursor: what the consumer has made durable. start: where the page begins where it reads ahead of that.

    lower, upper: the part of the ring, decimal (upper may be 2^64, which JSON numbers do not hold).
    """

    consumer: str
    nonce: str
    history: str
    cursor: int = Field(ge=0)
    start: int | None = Field(default=None, ge=0)
    lower: str = Field(default="0", pattern=r"^\d{1,20}$")
    upper: str = Field(default=str(1 << 64), pattern=r"^\d{1,20}$")
    with_vectors: bool = False
    limit: int = Field(default=500, ge=1, le=MAX_PAGE_ROWS)
    wait_ms: int = Field(default=0, ge=0, le=MAX_WAIT_MS)


class Embedded(_Strict):
    """f: the vector space that the caller has use for."""

    f: str
    ids: list[str] = Field(max_length=MAX_EMBEDDED_IDS)


def checked(model: type[Checked], call: Call) -> Checked:
    """Raises WireError that names the first member at fault."""
    try:
        return model.model_validate(call.head)
    except ValidationError as error:
        first = error.errors()[0]
        field = _path(first["loc"])
        raise WireError(BAD_REQUEST, f"{field}: {first['msg']}", field=field) from None


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
