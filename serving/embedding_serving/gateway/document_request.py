"""Changes of documents as clients ask for them, checked before anything is computed or stored."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import orjson

from ..contract.index import MAX_METADATA_BYTES, MAX_TEXT_BYTES, NO_EXPIRY
from ..filters import FilterError, metadata_text
from ..http.body import kind
from ..http.problems import ApiError, invalid
from .members import NO_SPACE, Space, Vectors, check_id, check_members, read_space, read_string, read_vector
from .slices import in_slices

SPACE_MEMBERS = frozenset({"fingerprint", "model", "revision"})
CONTENT_MEMBERS = frozenset({"text", "vector", "metadata", "if_version", "ttl_seconds"}) | SPACE_MEMBERS
DOCUMENT_MEMBERS = CONTENT_MEMBERS | {"id"}
EXPORTED_MEMBERS = frozenset({"version", "expires_at"})
"""What a document is read with beside its content: a line of an export can be stored again as it is."""
MAX_TTL_SECONDS = 100 * 366 * 86_400
_VERSION = re.compile(r"0|[0-9]{1,19}\.[0-9]{1,19}")


class Op(StrEnum):
    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document. metadata: JSON text. expires_at: ms since 1970. at: its path in the body, for errors.

    lives: how the client said when it expires, in its own words: a repetition says the same at another time.
    """

    op: Op
    id: str
    at: str = ""
    text: str | None = None
    vector: Vectors | None = None
    space: Space = NO_SPACE
    metadata: str | None = None
    if_version: str | None = None
    expires_at: int | None = None
    lives: float | str | None = None

    def field(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    @property
    def bytes_(self) -> int:
        """About how much of a frame's head it takes."""
        return 4 * len(self.id) + 2 * len(self.text or "") + 2 * len(self.metadata or "") + 100

    def digest(self) -> str:
        """Of what the client asked for, in whatever order of members: the same change again has the same."""
        said = [self.op, self.id, self.text, self.if_version, self.lives]
        hasher = blake2b(orjson.dumps(said), digest_size=8)
        if self.metadata is not None:
            hasher.update(orjson.dumps(orjson.loads(self.metadata), option=orjson.OPT_SORT_KEYS))
        if self.vector is not None:
            hasher.update(orjson.dumps([self.space.fingerprint, self.space.model, self.space.revision]))
            hasher.update(self.vector.tobytes())
        return hasher.hexdigest()


async def parse_documents(body: dict[str, Any], max_batch: int) -> list[Change]:
    """Of an upsert. A vector space named beside `documents` holds for those that name none."""
    check_members(body, SPACE_MEMBERS | {"documents"})
    documents = _batch(body, "documents", max_batch)
    common = read_space(body)
    changes: list[Change] = []
    async for document in in_slices(documents):
        at = f"documents[{len(changes)}]"
        if not isinstance(document, dict):
            raise invalid(at, f"{at} is {kind(document)}: it takes an object")
        changes.append(parse_document(document, at, common))
    _refuse_duplicates([change.id for change in changes], "documents")
    return changes


def parse_document(document: Mapping[str, Any], at: str = "", common: Space | None = None) -> Change:
    check_members(document, DOCUMENT_MEMBERS, at)
    id_ = check_id(document.get("id"), f"{at}.id" if at else "id")
    return _content(Op.PUT, id_, document, at, common)


def parse_exported(document: Mapping[str, Any], common: Space) -> Change:
    """A document, or one as it was read: it expires when it would have; its version is left aside."""
    check_members(document, DOCUMENT_MEMBERS | EXPORTED_MEMBERS)
    change = _content(Op.PUT, check_id(document.get("id"), "id"), document, "", common)
    instant = document.get("expires_at")
    if instant is None:
        return change
    if change.expires_at is not None:
        raise invalid("expires_at", "expires_at and ttl_seconds are both given: one of them says when the document is gone")
    return replace(change, expires_at=_milliseconds(instant), lives=instant)


def parse_patch(id_: str, body: Mapping[str, Any]) -> Change:
    check_members(body, CONTENT_MEMBERS)
    change = _content(Op.PATCH, check_id(id_, "id"), body, "", None)
    if change.vector is None and change.text is None and change.metadata is None and change.expires_at is None:
        raise invalid(None, "a patch takes text, vector, metadata or ttl_seconds: there is none of them")
    return change


def parse_deletes(body: Mapping[str, Any], max_batch: int) -> list[Change]:
    """Of `ids`."""
    ids = _batch(body, "ids", max_batch)
    changes = [Change(Op.DELETE, check_id(id_, f"ids[{index}]"), f"ids[{index}]") for index, id_ in enumerate(ids)]
    _refuse_duplicates([change.id for change in changes], "ids")
    return changes


def parse_delete(id_: Any, if_version: Any) -> Change:
    return Change(Op.DELETE, check_id(id_, "id"), if_version=_version(if_version, "if_version"))


def _content(op: Op, id_: str, body: Mapping[str, Any], at: str, common: Space | None) -> Change:
    prefix = f"{at}." if at else ""
    seconds = body.get("ttl_seconds")
    stays = op is Op.PATCH and seconds is None and "ttl_seconds" in body
    vector = body.get("vector")
    space = read_space(body, at)
    return Change(
        op=op,
        id=id_,
        at=at,
        text=_text(body, at),
        vector=None if vector is None else read_vector(vector, f"{prefix}vector"),
        space=common if common is not None and space == NO_SPACE else space,
        metadata=_metadata(body.get("metadata"), f"{prefix}metadata"),
        if_version=_version(body.get("if_version"), f"{prefix}if_version"),
        expires_at=NO_EXPIRY if stays else _expiry(seconds, f"{prefix}ttl_seconds"),
        lives=NO_EXPIRY if stays else seconds,
    )


def _batch(body: Mapping[str, Any], name: str, max_batch: int) -> Sequence[Any]:
    values = body.get(name)
    if not isinstance(values, list) or not values:
        raise invalid(name, f"{name} is {'empty' if values == [] else kind(values)}: it takes a list of at least one")
    if len(values) > max_batch:
        detail = f"{name} has {len(values)} members, a request may have {max_batch}: send several, or use /v1/documents/bulk"
        raise ApiError(413, "batch_too_large", detail, field=name)
    return values


def _refuse_duplicates(ids: Sequence[str], name: str) -> None:
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for index, id_ in enumerate(ids):
        if id_ in first:
            detail = f"{name}[{first[id_]}] and {name}[{index}] have one id, {id_[:100]!r}: a request changes a document once"
            raise ApiError(400, "duplicate_id", detail, field=f"{name}[{index}]")
        first[id_] = index


def _text(body: Mapping[str, Any], at: str) -> str | None:
    text = read_string(body, "text", at)
    if text is None:
        return None
    field = f"{at}.text" if at else "text"
    if 4 * len(text) > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES:
        detail = f"{field} has {len(text.encode())} bytes, a document's text may have {MAX_TEXT_BYTES}: split the document"
        raise ApiError(413, "text_too_long", detail, field=field)
    if "\0" in text:
        raise invalid(field, f"{field} holds the character U+0000: leave it out")
    return text


def _metadata(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid(field, f"{field} is {kind(value)}: it takes an object")
    try:
        text = metadata_text(value)
    except FilterError as error:
        raise invalid(field, f"{field} {error.detail}") from None
    if 4 * len(text) > MAX_METADATA_BYTES and len(text.encode()) > MAX_METADATA_BYTES:
        detail = f"{field} has {len(text.encode())} bytes as JSON, it may have {MAX_METADATA_BYTES}"
        raise ApiError(413, "metadata_too_large", detail, field=field)
    return text


def _version(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise invalid(field, f'{field} takes the version that an earlier answer gave, or "0": the document must not exist')
    return value


def _expiry(value: Any, field: str) -> int | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value <= MAX_TTL_SECONDS:
        raise invalid(field, f"{field} takes a number of seconds above 0 and up to {MAX_TTL_SECONDS}")
    return int(1000 * (time.time() + value))


def _milliseconds(value: Any) -> int:
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None or instant.timestamp() <= 0:
            raise ValueError
    except (TypeError, ValueError):
        raise invalid("expires_at", "expires_at takes what an export gave: a time such as 2027-01-31T12:00:00Z") from None
    return round(1000 * instant.timestamp())
