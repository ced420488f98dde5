"""Documents in: embedded for the pinned generation, sent to the writers of their shards, acknowledged when these are.

A write that is held or has met a newer route is embedded again and sent again under its request id.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from ..contract.index import Distance, shard_of
from ..contract.route import GenerationRoute
from ..filters import Filter
from ..http.problems import ApiError
from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Encoders, InputType, Priority
from ..outgoing.failures import TextRefused
from .document_request import Change, Op
from .errors import error_of
from .failures import ShardRefused, ShardUnavailable
from .members import Vectors, check_vector
from .metrics import Metrics
from .pods import Copies, Fleet
from .position import Positions
from .routes import Pin, Routes
from .sequencing import Sequencer
from .slices import in_slices

FRAME_BYTES = 4 << 20
FRAME_CHANGES = 1_024


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """request_id: what shards know the write by. issued_at: ms since 1970. trace: the request's id in logs.

    keyed: the client may send it again by itself, so shards are told what it is about too.
    """

    request_id: str
    issued_at: int
    trace: str
    deadline: Deadline
    priority: Priority = Priority.INTERACTIVE
    keyed: bool = False


@dataclass(slots=True)
class Written:
    """results: one a change, in order: {id, version} or {id, error: {code, detail}}."""

    generation: int
    epoch: int
    results: list[dict[str, Any]]
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def position(self) -> Positions:
        return Positions(self.generation, self.epoch, self.positions)


class Writes:
    def __init__(self, routes: Routes, fleet: Fleet, encoders: Encoders, metrics: Metrics) -> None:
        self._routes = routes
        self._fleet = fleet
        self._encoders = encoders
        self._metrics = metrics
        self._sequencer = Sequencer(metrics, self._moved_on)

    def check(self, change: Change) -> None:
        """Raises ApiError for a change that the active generation cannot take, RouteUnavailable."""
        _prepared(change, self._routes.active().generation)

    async def apply(self, changes: Sequence[Change], request: WriteRequest) -> Written:
        """Changes of different documents.

        Raises ApiError for what the active generation cannot take (nothing is stored then), and Unavailable or
        ShardRefused where no shard took its part; where some did, the others' documents have errors.
        """

        async def attempt(pin: Pin) -> Written:
            vectors: list[Vectors | None] = [_prepared(change, pin.generation) async for change in in_slices(changes)]
            refused = await self._embed(changes, vectors, pin.generation, request)
            return await self._send(changes, vectors, refused, pin, request)

        written = await self._routes.pinned(self._routes.active, request.deadline, attempt)
        failed = sum("error" in result for result in written.results)
        self._metrics.documents.labels("accepted").inc(len(changes) - failed)
        self._metrics.documents.labels("failed").inc(failed)
        return written

    async def delete_matching(self, filter_: Filter, request: WriteRequest) -> tuple[int, Positions]:
        """How many documents were deleted. Raises Unavailable, ShardRefused: then some shards may have deleted theirs."""

        async def attempt(pin: Pin) -> tuple[int, Positions]:
            shards = self._fleet.shards(pin.generation)
            head = {
                "request_id": request.request_id,
                "issued_at": request.issued_at,
                "filter": filter_.canonical(),
            }
            if request.keyed:
                head["digest"] = blake2b(filter_.canonical_bytes(), digest_size=8).hexdigest()
            answers = await _all(
                [
                    self._sequencer.write(copies, pin, "delete_by_filter", head, b"", request.deadline)
                    for copies in shards.copies
                ]
            )
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            told = [answer.head for answer in answers if not isinstance(answer, Exception)]
            positions = {shard: head["p"] for shard, head in enumerate(told)}
            return sum(head["deleted"] for head in told), Positions(pin.number, pin.epoch, positions)

        return await self._routes.pinned(self._routes.active, request.deadline, attempt)

    def _moved_on(self, pin: Pin) -> bool:
        route = self._routes.current
        return route is not None and route.seq > pin.seq and route.writer != pin.number

    async def _embed(
        self, changes: Sequence[Change], vectors: list[Vectors | None], generation: GenerationRoute, request: WriteRequest
    ) -> dict[int, TextRefused]:
        """Fills in what is to be embedded; answers which texts the encoder does not take, by index of the change."""
        refused: dict[int, TextRefused] = {}
        if generation.encoder is None:
            return refused
        waiting = [
            index
            for index, change in enumerate(changes)
            if vectors[index] is None and change.text is not None and change.op is not Op.DELETE
        ]
        while waiting:
            texts = [changes[index].text or "" for index in waiting]
            try:
                found = await self._encoders.embed(
                    generation, texts, InputType.DOCUMENT, request.deadline, request.trace, request.priority
                )
            except TextRefused as error:
                refused[waiting.pop(error.index)] = error
                continue
            for index, vector in zip(waiting, found, strict=True):
                if generation.distance is Distance.COSINE and not vector.any():
                    refused[index] = TextRefused(index, "zero_vector", "the model's vector of this text is all zeros")
                vectors[index] = vector
            break
        return refused

    async def _send(
        self,
        changes: Sequence[Change],
        vectors: Sequence[Vectors | None],
        refused: Mapping[int, TextRefused],
        pin: Pin,
        request: WriteRequest,
    ) -> Written:
        shards = self._fleet.shards(pin.generation)
        written = Written(pin.number, pin.epoch, [{"id": change.id} for change in changes])
        for index, error in refused.items():
            written.results[index]["error"] = {"code": error.code, "detail": error.detail}
        by_shard: dict[int, list[int]] = {}
        for index, change in enumerate(changes):
            if index not in refused:
                by_shard.setdefault(shard_of(change.id, len(shards)), []).append(index)
        outcomes = await _all(
            [
                self._send_to(shards.copies[shard], indexes, changes, vectors, pin, request, written)
                for shard, indexes in by_shard.items()
            ]
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failures and len(failures) == len(outcomes) and not refused:
            raise failures[0]
        for indexes, outcome in zip(by_shard.values(), outcomes, strict=True):
            if isinstance(outcome, Exception):
                _mark(written, indexes, outcome)
        return written

    async def _send_to(
        self,
        copies: Copies,
        indexes: Sequence[int],
        changes: Sequence[Change],
        vectors: Sequence[Vectors | None],
        pin: Pin,
        request: WriteRequest,
        written: Written,
    ) -> None:
        """Sends one shard its part, a frame after the other, and enters the results."""
        done = 0
        while done < len(indexes):
            part = _part(indexes[done:], changes)
            with_vectors = [vector for index in part if (vector := vectors[index]) is not None]
            tail = np.ascontiguousarray(with_vectors, dtype="<f4").data.cast("B") if with_vectors else b""
            head = {
                "request_id": request.request_id,
                "issued_at": request.issued_at,
                "changes": [
                    _head(changes[index], has_vector=vectors[index] is not None, keyed=request.keyed) for index in part
                ],
            }
            try:
                answer = await self._sequencer.write(copies, pin, "write", head, tail, request.deadline)
            except (ShardUnavailable, ShardRefused) as error:
                if done == 0:
                    raise
                _mark(written, indexes[done:], error)
                return
            for index, result in zip(part, answer.head["results"], strict=True):
                written.results[index] = result
            written.positions[copies.shard] = answer.head["p"]
            done += len(part)


def _prepared(change: Change, generation: GenerationRoute) -> Vectors | None:
    """The client's vector as the shard takes it. Raises ApiError where the generation cannot take the change."""
    if change.op is Op.DELETE:
        return None
    vector = None
    if change.vector is not None:
        vector = check_vector(change.vector, change.space, generation, change.field("vector"))
    if change.op is Op.PATCH:
        if generation.encoder is not None and vector is not None and change.text is None:
            detail = "a vector comes with its text here: the index has a model, which must be able to embed it again"
            raise ApiError(400, "text_required", detail, field=change.field("text"))
        if generation.encoder is None and change.text is not None and vector is None:
            detail = "a new text comes with its vector here: the index has no model to make one"
            raise ApiError(400, "vector_required", detail, field=change.field("vector"))
        return vector
    if generation.encoder is not None and change.text is None:
        detail = f"{change.field('text')} is missing: the index has a model, so every document has a text"
        raise ApiError(400, "text_required", detail, field=change.field("text"))
    if generation.encoder is None and vector is None:
        detail = f"{change.field('vector')} is missing: the index has no model, so vectors come from clients"
        raise ApiError(400, "vector_required", detail, field=change.field("vector"))
    return vector


def _head(change: Change, *, has_vector: bool, keyed: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"op": change.op, "id": change.id, "vector": has_vector}
    for name in ("text", "metadata", "if_version", "expires_at"):
        value = getattr(change, name)
        if value is not None:
            head[name] = value
    if keyed:
        head["digest"] = change.digest()
    return head


def _part(indexes: Sequence[int], changes: Sequence[Change]) -> Sequence[int]:
    """As many from the beginning as one frame takes; at least one."""
    size = 0
    for count, index in enumerate(indexes[:FRAME_CHANGES]):
        size += changes[index].bytes_
        if count and size > FRAME_BYTES:
            return indexes[:count]
    return indexes[:FRAME_CHANGES]


def _mark(written: Written, indexes: Sequence[int], failure: Exception) -> None:
    error = error_of(failure)
    code, detail = (error.code, error.detail) if error else ("internal", type(failure).__name__)
    for index in indexes:
        written.results[index]["error"] = {"code": code, "detail": detail}


async def _all(work: Sequence[Any]) -> list[Any]:
    """Results, or the failures that concern one shard alone. Any other failure ends them all."""
    if len(work) == 1:
        return [await _caught(work[0])]
    tasks = [asyncio.ensure_future(_caught(one)) for one in work]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()


async def _caught(work: Any) -> Any:
    try:
        return await work
    except (ShardUnavailable, ShardRefused) as error:
        return error
