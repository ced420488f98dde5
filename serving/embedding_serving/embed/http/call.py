"""What a hot route is given, and what it gives back."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ...contract.model import Task
from ...contract.reports import ModelInfo
from ...http.exchange import JSON, Header
from ..service import EmbeddingService, Encoded
from .fields import TextLimits
from .problems import Dialect

OCTETS = b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its body read and parsed."""

    service: EmbeddingService
    info: ModelInfo
    limits: TextLimits
    client: str
    headers: dict[bytes, bytes]
    body: dict[str, Any]

    def wants_octets(self) -> bool:
        return OCTETS in self.headers.get(b"accept", b"")


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[Header] = ()


@dataclass(frozen=True, slots=True)
class HotRoute:
    """task: what the model must be made for. texts_field: where in the body the texts are, for errors about them."""

    path: str
    task: Task
    dialect: Dialect
    texts_field: str
    handle: Callable[[Call], Coroutine[Any, Any, Answer]]


def json_answer(value: Any) -> Answer:
    """numpy arrays are written as lists of numbers."""
    return Answer(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def octets_answer(encoded: Encoded, info: ModelInfo) -> Answer:
    """Raw little-endian float32, row by row; the shape, the vector space and the tokens are in the headers."""
    count, dimensions = encoded.vectors.shape
    headers = [
        (b"x-embedding-count", b"%d" % count),
        (b"x-embedding-dimensions", b"%d" % dimensions),
        (b"x-embedding-fingerprint", info.fingerprint.encode()),
        (b"x-embedding-tokens", b"%d" % encoded.tokens),
    ]
    return Answer(np.ascontiguousarray(encoded.vectors, dtype="<f4").tobytes(), OCTETS, headers)
