"""What changes a shard's documents, and when it counts as done."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from ..contract.admin import Refusal
from ..contract.index import (
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
    Acknowledge,
    Distance,
)
from ..filters import parse
from ..wire.calls import Call, Reply
from ..wire.errors import BAD_REQUEST, WireError
from . import heads
from .heads import checked
from .index_feed import BEHIND
from .store.records import Change, Op, Refused, Vectors, WriteBatch, WriteResult
from .store.store import Store
from .watermark import Watermark


class Writes:
    """acknowledged: how far the most advanced follower has synced this shard's feed. searchable: what is stored is found."""

    def __init__(
        self,
        store: Store,
        searchable: Callable[[], bool],
        acknowledged: Watermark,
        *,
        writer: bool,
        acknowledge: Acknowledge,
        text_required: bool,
        follower_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._searchable = searchable
        self._acknowledged = acknowledged
        self._writer = writer
        self._acknowledge = acknowledge
        self._text_required = text_required
        self._follower_timeout_seconds = follower_timeout_seconds

    async def write(self, call: Call) -> Reply:
        head = checked(heads.Write, call)
        self._require_able()
        vectors = iter(self._vectors(head, call.tail))
        changes = [self._change(number, one, next(vectors) if one.vector else None) for number, one in enumerate(head.changes)]
        batch = WriteBatch(head.g, head.f, head.request_id, head.issued_at, changes)
        written = await self._store.write(batch)
        await self._wait_for_follower(written.position, head.acknowledge)
        return self._reply({"results": [_told(result) for result in written.results]}, written.position)

    async def delete_by_filter(self, call: Call) -> Reply:
        head = checked(heads.DeleteByFilter, call)
        self._require_able()
        filter_ = parse(head.filter)
        deleted = await self._store.delete_by_filter(
            head.g, head.f, head.request_id, head.issued_at, filter_, digest=head.digest
        )
        position = self._store.state.position
        await self._wait_for_follower(position, head.acknowledge)
        return self._reply({"deleted": deleted}, position)

    def _require_able(self) -> None:
        if not self._writer:
            raise Refused(Refusal.NOT_A_WRITER, "this copy follows: write to the pod whose name ends in -0")
        if not self._searchable():
            raise Refused(Refusal.READ_ONLY, BEHIND)

    def _vectors(self, head: heads.Write, tail: memoryview) -> Vectors:
        """float32 [changes with a vector, dimensions], normalised where the distance is cosine."""
        identity = self._store.state.identity
        numbers = [number for number, one in enumerate(head.changes) if one.vector]
        expected = 4 * len(numbers) * identity.dimensions
        if len(tail) != expected:
            detail = f"{len(tail)} bytes of vectors: {len(numbers)} of {identity.dimensions} dimensions are {expected}"
            raise WireError(BAD_REQUEST, detail, field="changes")
        vectors: Vectors = np.frombuffer(tail, dtype="<f4").reshape(len(numbers), identity.dimensions)
        _require(np.all(np.isfinite(vectors), axis=1), numbers, "has a member that is not a finite number")
        if identity.distance is not Distance.COSINE:
            return vectors
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        _require(lengths > 0, numbers, "is zero: it has no direction to compare by cosine")
        normalised: Vectors = (vectors / lengths[:, None]).astype(np.float32)
        return normalised

    def _change(self, number: int, one: heads.ChangeHead, vector: Vectors | None) -> Change:
        where = f"changes[{number}]"
        _require_size(one.id, 1, MAX_ID_BYTES, f"{where}.id")
        if one.text is not None:
            _require_size(one.text, 0, MAX_TEXT_BYTES, f"{where}.text")
        if one.metadata is not None:
            _require_size(one.metadata, 2, MAX_METADATA_BYTES, f"{where}.metadata")
            _require_object(one.metadata, f"{where}.metadata")
        if one.op == "put" and self._text_required and one.text is None:
            raise WireError(BAD_REQUEST, f"{where}.text is missing: documents of this index have text", field=f"{where}.text")
        if one.op == "put" and vector is None and one.failure is None:
            raise WireError(BAD_REQUEST, f"{where} has neither a vector nor the reason why not", field=f"{where}.vector")
        return Change(
            Op(one.op), one.id, one.text, one.metadata, one.if_version, one.expires_at, vector, one.failure, one.digest
        )

    async def _wait_for_follower(self, position: int, wanted: str | None) -> None:
        if Acknowledge(wanted or self._acknowledge) is Acknowledge.WRITER:
            return
        begin = time.monotonic()
        try:
            async with asyncio.timeout(self._follower_timeout_seconds):
                await self._acknowledged.reach(position)
        except TimeoutError:
            detail = (
                f"no follower synced this write within {time.monotonic() - begin:.1f} s. The writer has stored it: "
                "repeat the request under the same id until a follower has it too"
            )
            raise Refused(Refusal.NO_FOLLOWER, detail) from None

    def _reply(self, found: dict[str, Any], position: int) -> Reply:
        state = self._store.state
        identity = state.identity
        common = {"g": identity.generation, "f": identity.fingerprint, "e": state.protocol.epoch, "p": position}
        return Reply(orjson.dumps(found | common))


def _told(result: WriteResult) -> dict[str, Any]:
    if result.code is not None:
        return {"id": result.id, "error": {"code": result.code, "detail": result.detail}}
    return {"id": result.id, "version": result.version}


def _require(sound: np.ndarray[Any, np.dtype[np.bool_]], numbers: list[int], what: str) -> None:
    if not sound.all():
        where = f"changes[{numbers[int(np.argmin(sound))]}].vector"
        raise WireError(BAD_REQUEST, f"{where} {what}", field=where)


def _require_size(text: str, least: int, most: int, where: str) -> None:
    size = len(text.encode())
    if not least <= size <= most:
        raise WireError(BAD_REQUEST, f"{where} has {size} bytes: from {least} to {most} are taken", field=where)


def _require_object(text: str, where: str) -> None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError(BAD_REQUEST, f"{where} is no JSON: {error}", field=where) from None
    if not isinstance(value, dict):
        raise WireError(BAD_REQUEST, f"{where} is no JSON object", field=where)
