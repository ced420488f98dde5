"""Members that several requests have: what is known, what is to be included, filters, vectors, names of vector spaces."""

import math
from binascii import a2b_base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.index import MAX_ID_BYTES, Distance
from ..contract.route import GenerationRoute
from ..filters import Filter, FilterError, parse
from ..http.body import kind, shown
from ..http.problems import ApiError, invalid

Vectors = NDArray[np.float32]

INCLUDABLE = ("text", "metadata", "vector")
MAX_COMPONENTS = 65_536
_NUMBERS = {int, float}


@dataclass(frozen=True, slots=True)
class Include:
    """What hits and documents carry beside id and version."""

    text: bool = True
    metadata: bool = True
    vector: bool = False

    def head(self) -> dict[str, bool]:
        return {"text": self.text, "metadata": self.metadata, "vector": self.vector}


DEFAULT_INCLUDE = Include()


@dataclass(frozen=True, slots=True)
class Space:
    """How a client names the vector space of its vectors; None = it does not."""

    fingerprint: str | None = None
    model: str | None = None
    revision: str | None = None


NO_SPACE = Space()


def check_members(body: Mapping[str, Any], known: Collection[str], at: str = "") -> None:
    """Raises ApiError for a member that nobody reads: most are spelling mistakes."""
    if body.keys() <= known:  # type: ignore[operator]  # a set of strings, at every call
        return
    name = next(name for name in body if name not in known)
    field = f"{at}.{name}" if at else name
    raise ApiError(
        400, "unknown_field", f"there is no {field[:200]!r} here: it takes {', '.join(sorted(known))}", field=field[:200]
    )


def read_include(body: Mapping[str, Any], at: str = "") -> Include:
    value = body.get("include")
    if value is None:
        return DEFAULT_INCLUDE
    if not isinstance(value, list) or not all(isinstance(name, str) and name in INCLUDABLE for name in value):
        field = f"{at}.include" if at else "include"
        raise invalid(field, f"{field} takes a list of {', '.join(INCLUDABLE)}")
    return Include("text" in value, "metadata" in value, "vector" in value)


def read_filter(body: Mapping[str, Any], at: str = "") -> Filter | None:
    value = body.get("filter")
    if value is None:
        return None
    field = f"{at}.filter" if at else "filter"
    try:
        return parse(value, field)
    except FilterError as error:
        raise ApiError(400, "invalid_filter", str(error), field=error.field) from None


def read_number(body: Mapping[str, Any], name: str, *, default: int, most: int, at: str = "") -> int:
    """From 1 to `most`."""
    value = body.get(name)
    if value is None:
        return default
    field = f"{at}.{name}" if at else name
    if type(value) is not int or value < 1:
        raise invalid(field, f"{field} is {shown(value)}: it takes a whole number from 1 to {most}")
    if value > most:
        raise ApiError(400, "limit_exceeded", f"{field} is {value}: at most {most} are answered here", field=field)
    return value


def read_string(body: Mapping[str, Any], name: str, at: str = "", *, empty: bool = False) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    field = f"{at}.{name}" if at else name
    if not isinstance(value, str):
        raise invalid(field, f"{field} is {kind(value)}: it takes a text")
    if not empty and not value.strip():
        raise ApiError(400, "empty_text", f"{field} is empty", field=field)
    return value


def read_space(body: Mapping[str, Any], at: str = "") -> Space:
    return Space(*(read_string(body, name, at) for name in ("fingerprint", "model", "revision")))


def read_vector(value: Any, field: str) -> Vectors:
    """float32 [d], finite, from a list of numbers or base64 of little-endian float32. Its length is checked against a route."""
    if isinstance(value, str):
        try:
            raw = a2b_base64(value, strict_mode=True)
        except ValueError:
            raise invalid(field, f"{field} is a text that is not base64: it takes numbers, or base64 of float32") from None
        if len(raw) % 4:
            raise invalid(field, f"{field} has {len(raw)} bytes: float32 are 4 each, little-endian")
        vector: Vectors = np.frombuffer(raw, dtype="<f4")
    elif isinstance(value, list):
        vector = _from_list(value, field)
    else:
        raise invalid(field, f"{field} is {kind(value)}: it takes a list of numbers, or base64 of float32")
    if not np.isfinite(vector).all():
        raise invalid(field, f"{field} holds NaN or infinity (in float32): every component must be a finite number")
    return vector


def _from_list(value: list[Any], field: str) -> Vectors:
    if len(value) > MAX_COMPONENTS:
        raise invalid(field, f"{field} has {len(value)} components: at most {MAX_COMPONENTS} are read")
    if not set(map(type, value)) <= _NUMBERS:
        index = next(index for index, one in enumerate(value) if type(one) not in _NUMBERS)
        raise invalid(f"{field}[{index}]", f"{field}[{index}] is {kind(value[index])}: it takes a number")
    with np.errstate(over="ignore"):
        return np.array(value, dtype=np.float64).astype(np.float32)


def check_vector(vector: Vectors, space: Space, generation: GenerationRoute, field: str) -> Vectors:
    """The vector as shards compare it: of the active space, of its length, normalised under Cosine. Raises ApiError."""
    check_space(space, generation, field)
    if vector.shape[0] != generation.dimensions:
        raise ApiError(
            400,
            "wrong_dimension",
            f"{field} has {vector.shape[0]} components: vectors of this index have {generation.dimensions}",
            field=field,
        )
    if generation.distance is not Distance.COSINE:
        return vector
    wide = vector.astype(np.float64)
    length = math.sqrt(wide @ wide)
    if length == 0.0:
        raise ApiError(400, "zero_vector", f"{field} is all zeros: a cosine with it is not defined", field=field)
    unit: Vectors = (wide / length).astype(np.float32)
    return unit


def normalised(vectors: Vectors) -> Vectors | None:
    """float32 [n, d], each of length 1; None where one is all zeros."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    if not lengths.all():
        return None
    unit: Vectors = (wide / lengths[:, np.newaxis]).astype(np.float32)
    return unit


def check_space(space: Space, generation: GenerationRoute, field: str) -> None:
    """Raises ApiError 409 where the client does not name the active vector space.

    The name of a model alone does not: the vectors of its earlier revision bear it too.
    """
    given = {"fingerprint": space.fingerprint, "revision": space.revision, "model": space.model}
    active = {"fingerprint": generation.fingerprint, "revision": generation.revision, "model": generation.model}
    wrong = [name for name, value in given.items() if value is not None and value != active[name]]
    named = space.fingerprint is not None or space.revision is not None or generation.encoder is None
    if named and not wrong:
        return
    told = ", ".join(f"{name} {value!r}" for name, value in active.items() if value is not None)
    what = f"{field} is of {wrong[0]} {given[wrong[0]]!r}" if wrong else f"{field} comes without fingerprint or revision"
    detail = f"{what}; the active vector space is {told}: embed with that, and name it"
    at, _, _ = field.rpartition(".")
    name = wrong[0] if wrong else "fingerprint"
    raise ApiError(409, "fingerprint_mismatch", detail, field=f"{at}.{name}" if at else name)


def check_id(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise invalid(field, f"{field} is {kind(value)}: it takes a text")
    if not value:
        raise invalid(field, f"{field} is empty")
    if 4 * len(value) > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES:
        raise invalid(field, f"{field} has {len(value.encode())} bytes: an id has at most {MAX_ID_BYTES}")
    if "\0" in value:
        raise invalid(field, f"{field} holds the character U+0000")
    return value
