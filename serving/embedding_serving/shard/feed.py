"""A feed over frames: how a page travels, and the connection of a follower to its source."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from ..contract.admin import Mode, Refusal
from ..contract.index import IndexName
from ..wire.client import Answer, Connection
from ..wire.errors import CallFailed, WireError
from .reading import Hello, Unreachable
from .store.records import FeedRequest, FeedRow, Lease, Page, Refused, Version

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""Beyond what the source may hold an empty page back: a page of large documents on a slow disk."""

_REFUSALS = frozenset(refusal.value for refusal in Refusal)


def encode_page(page: Page) -> tuple[dict[str, Any], tuple[bytes, bytes]]:
    """Head and tail of the answer to `pull`; the tail is rows and requests as JSON (a head is too small), then the vectors."""
    body = orjson.dumps(
        {
            "rows": [
                [
                    row.row, row.id, *row.version, row.deleted, row.expires_at, row.text, row.metadata,
                    row.content_hash.hex(), row.failure, len(row.vector or b""),
                ]
                for row in page.rows
            ],
            "requests": [[one.row, one.request_id, one.issued_at, dict(one.results)] for one in page.requests],
        }
    )  # fmt: skip
    head = {
        "history": page.history,
        "cursor": page.cursor,
        "upto": page.upto,
        "position": page.position,
        "body_bytes": len(body),
    }
    return head, (body, b"".join(row.vector or b"" for row in page.rows))


def decode_page(head: Mapping[str, Any], tail: memoryview) -> Page:
    """Raises KeyError, TypeError, ValueError where it is no page."""
    at = int(head["body_bytes"])
    body = orjson.loads(tail[:at])
    rows: list[FeedRow] = []
    for number, id_, epoch, seq, deleted, expires_at, text, metadata, hash_, failure, size in body["rows"]:
        vector = bytes(tail[at : at + size]) if size else None
        at += size
        version = Version(epoch, seq)
        rows.append(FeedRow(number, id_, version, deleted, expires_at, text, metadata, bytes.fromhex(hash_), failure, vector))
    requests = [FeedRequest(*one) for one in body["requests"]]
    return Page(head["history"], head["cursor"], head["upto"], head["position"], rows, requests)


def text_digest(text: str) -> str:
    """What tells that a text here and one there are the same."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def encode_embedded(found: Mapping[str, tuple[str, bytes]]) -> tuple[dict[str, Any], tuple[bytes, bytes]]:
    """Head and tail of the answer to `embedded`, from text and vector by id; texts travel as digests."""
    body = orjson.dumps([[id_, text_digest(text)] for id_, (text, _) in found.items()])
    return {"body_bytes": len(body)}, (body, b"".join(vector for _, vector in found.values()))


def decode_embedded(head: Mapping[str, Any], tail: memoryview, vector_bytes: int) -> dict[str, tuple[str, bytes]]:
    """Digest and vector by id. Raises KeyError, TypeError, ValueError where it is no such answer."""
    at = int(head["body_bytes"])
    told: list[tuple[str, str]] = orjson.loads(tail[:at])
    if len(tail) != at + len(told) * vector_bytes:
        raise ValueError(f"{len(tail) - at} bytes of vectors for {len(told)} documents")
    starts = range(at, len(tail), vector_bytes)
    return {id_: (digest, bytes(tail[start : start + vector_bytes])) for (id_, digest), start in zip(told, starts, strict=True)}


class WireFeed:
    """A source at the other end of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        said = connection.hello
        self.hello = Hello(
            index=IndexName.said(said),
            generation=said["generation"],
            shard=said["shard"],
            shards=said["shards"],
            fingerprint=said["fingerprint"],
            history=said["history"],
            mode=Mode(said["mode"]),
            position=said["position"],
        )
        self._vector_bytes = 4 * int(said["dimensions"])

    async def lease(self, lease: Lease) -> int:
        answer = await self._call(
            {"op": "lease", "consumer": lease.consumer, "nonce": lease.nonce, "position": lease.position}, ANSWER_SECONDS
        )
        return int(answer.head["position"])

    async def pull(
        self, lease: Lease, history: str, start: int, *, lower: int, upper: int, with_vectors: bool, limit: int, wait_ms: int
    ) -> Page:
        head = {
            "op": "pull",
            "consumer": lease.consumer,
            "nonce": lease.nonce,
            "history": history,
            "cursor": lease.position,
            "start": start,
            "lower": str(lower),
            "upper": str(upper),
            "with_vectors": with_vectors,
            "limit": limit,
            "wait_ms": wait_ms,
        }
        answer = await self._call(head, ANSWER_SECONDS + wait_ms / 1_000)
        try:
            return decode_page(answer.head, answer.tail)
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"the source sent no page: {error}") from error

    async def embedded(self, fingerprint: str, ids: Sequence[str], timeout: float) -> dict[str, tuple[str, bytes]]:
        """Digest of the text and vector of those of the documents that are embedded there. Raises Refused, Unreachable."""
        answer = await self._call({"op": "embedded", "f": fingerprint, "ids": list(ids)}, timeout)
        try:
            return decode_embedded(answer.head, answer.tail, self._vector_bytes)
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"no vectors were sent: {error}") from error

    async def _call(self, head: Mapping[str, Any], timeout: float) -> Answer:
        try:
            return await self._connection.call(head, timeout=timeout)
        except WireError as error:
            if error.code in _REFUSALS:
                raise Refused(Refusal(error.code), error.detail) from error
            raise Unreachable(str(error)) from error
        except CallFailed as error:
            raise Unreachable(str(error)) from error


@asynccontextmanager
async def connect(host: str, *, peer: str) -> AsyncIterator[WireFeed]:
    """Connects to `name:port`. Raises Unreachable."""
    name, _, port = host.rpartition(":")
    try:
        connection = await Connection.connect(name.strip("[]"), int(port), peer=peer, timeout=CONNECT_SECONDS)
    except CallFailed as error:
        raise Unreachable(str(error)) from error
    try:
        yield WireFeed(connection)
    finally:
        connection.close()
