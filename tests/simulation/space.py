"""Vectors that say what they are: of which vector space, and of which text."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 3


def space_of(fingerprint: str) -> float:
    """`fp-7` → 7."""
    return float(fingerprint.rpartition("-")[2])


def vectors_of(fingerprint: str, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([vector_of(fingerprint, text) for text in texts], dtype=np.float32).reshape(len(texts), DIMENSIONS)


def vector_of(fingerprint: str, text: str) -> list[float]:
    return [space_of(fingerprint), float(zlib.crc32(text.encode()) % 1_000_003), 1.0]


def is_of(vector: Any, fingerprint: str, text: str) -> bool:
    return vector is not None and [float(member) for member in vector] == vector_of(fingerprint, text)
