"""Documents as clients see them: what shards send as lists becomes JSON objects; stored metadata goes out as it is."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from ..wire.client import Answer
from .members import Include

RawDocument = Sequence[Any]
"""[row, id, version, text or None, metadata as JSON text or None, expires_at in ms or None]"""


class Stored(NamedTuple):
    """vector: float32 [d], where it was asked for."""

    raw: RawDocument
    vector: NDArray[np.float32] | None = None

    @property
    def id(self) -> str:
        return str(self.raw[1])


def documents_of(answer: Answer, include: Include, dimensions: int) -> list[Stored | None]:
    """Documents of a fetch, get or scroll, in its order; None for one that is not there."""
    raws: list[RawDocument | None] = answer.head["documents"]
    if not include.vector:
        return [None if raw is None else Stored(raw) for raw in raws]
    vectors = iter(np.frombuffer(answer.tail, dtype="<f4").reshape(-1, dimensions))
    return [None if raw is None else Stored(raw, next(vectors)) for raw in raws]


def shown(stored: Stored, include: Include, score: float | None = None) -> dict[str, Any]:
    """{id, score?, text?, metadata?, version, expires_at?, vector?}; vector in base64, not of a document without one."""
    _, id_, version, text, metadata, expires_at = stored.raw
    one: dict[str, Any] = {"id": id_}
    if score is not None:
        one["score"] = score
    if include.text and text is not None:
        one["text"] = text
    if include.metadata and metadata is not None:
        one["metadata"] = orjson.Fragment(metadata)
    one["version"] = version
    if expires_at is not None:
        one["expires_at"] = _time(expires_at)
    if stored.vector is not None and stored.vector.any():
        one["vector"] = b64encode(stored.vector.tobytes()).decode()
    return one


def listed(stored: Stored, include: Include, fingerprint: str | None) -> dict[str, Any]:
    """As a bulk takes it: the vector of a model names its space."""
    one = shown(stored, include)
    return one | {"fingerprint": fingerprint} if fingerprint is not None and "vector" in one else one


def _time(milliseconds: int) -> str:
    """RFC 3339 in UTC."""
    return str(np.datetime64(milliseconds, "ms")) + "Z"
