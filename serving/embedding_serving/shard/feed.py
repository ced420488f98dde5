"""A feed over frames: how a page travels, and the connection of a follower to its source."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ..contract.admin import Mode, Refusal
from ..wire.client import Answer, Connection
from ..wire.errors import CallFailed, WireError
from .follower import Hello, Unreachable
from .store.records import FeedRequest, FeedRow, Lease, Page, Refused, Version

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""Beyond what the source may hold an empty page back: a page of large documents on a slow disk."""

_REFUSALS = frozenset(refusal.value for refusal in Refusal)


def encode_page(page: Page) -> tuple[dict[str, Any], bytes]:
    """Head and tail of the answer to `pull`; the tail is the vectors, one after the other."""
    head = {
        "history": page.history,
        "cursor": page.cursor,
        "upto": page.upto,
        "position": page.position,
        "rows": [
            [
                row.row, row.id, *row.version, row.deleted, row.expires_at, row.text, row.metadata,
                row.content_hash.hex(), row.failure, len(row.vector or b""),
            ]
            for row in page.rows
        ],
        "requests": [[one.row, one.request_id, one.issued_at, one.results] for one in page.requests],
    }  # fmt: skip
    return head, b"".join(row.vector or b"" for row in page.rows)


def decode_page(head: Mapping[str, Any], tail: memoryview) -> Page:
    rows: list[FeedRow] = []
    at = 0
    for number, id_, epoch, seq, deleted, expires_at, text, metadata, hash_, failure, size in head["rows"]:
        vector = bytes(tail[at : at + size]) if size else None
        at += size
        version = Version(epoch, seq)
        rows.append(FeedRow(number, id_, version, deleted, expires_at, text, metadata, bytes.fromhex(hash_), failure, vector))
    requests = [FeedRequest(*one) for one in head["requests"]]
    return Page(head["history"], head["cursor"], head["upto"], head["position"], rows, requests)


class WireFeed:
    """A source at the other end of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        said = connection.hello
        self.hello = Hello(
            generation=said["generation"],
            shard=said["shard"],
            fingerprint=said["fingerprint"],
            history=said["history"],
            mode=Mode(said["mode"]),
            position=said["position"],
        )

    async def lease(self, lease: Lease) -> int:
        answer = await self._call(
            {"op": "lease", "consumer": lease.consumer, "nonce": lease.nonce, "position": lease.position}, ANSWER_SECONDS
        )
        return int(answer.head["position"])

    async def pull(
        self, lease: Lease, history: str, *, lower: int, upper: int, with_vectors: bool, limit: int, wait_ms: int
    ) -> Page:
        head = {
            "op": "pull",
            "consumer": lease.consumer,
            "nonce": lease.nonce,
            "history": history,
            "cursor": lease.position,
            "lower": str(lower),
            "upper": str(upper),
            "with_vectors": with_vectors,
            "limit": limit,
            "wait_ms": wait_ms,
        }
        answer = await self._call(head, ANSWER_SECONDS + wait_ms / 1_000)
        return decode_page(answer.head, answer.tail)

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
