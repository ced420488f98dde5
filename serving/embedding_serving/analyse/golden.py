"""Golden queries: JSON lines that a person wrote. A line that cannot be read is named, the others are measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ..contract.route import GenerationRoute
from ..filters import Filter
from ..gateway.members import Space, check_id, check_members, check_vector, read_filter, read_number, read_string, read_vector
from ..http.problems import ApiError
from .side import Query

MEMBERS = frozenset({"query", "vector", "ids", "filter", "k"})
DEFAULT_K = 10
MOST_K = 1_000


@dataclass(frozen=True, slots=True)
class GoldenQuery:
    """ids: all of them are to be among the k nearest."""

    line: int
    query: Query
    ids: tuple[str, ...]
    filter_: Filter | None
    k: int


class Golden(NamedTuple):
    """faults: in words, by line."""

    queries: tuple[GoldenQuery, ...]
    faults: tuple[str, ...]


def parse_golden(raw: bytes, generation: GenerationRoute) -> Golden:
    """Of a whole file; empty lines are left out. `generation`: whose vectors a line may bring, if clients bring them."""
    queries: list[GoldenQuery] = []
    faults: list[str] = []
    for number, line in _lines(raw):
        try:
            queries.append(_query(number, line, generation))
        except ApiError as error:
            faults.append(f"line {number}: {error.detail}")
    if not queries and not faults:
        faults.append("it holds no query")
    return Golden(tuple(queries), tuple(faults))


def _lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(raw.splitlines(), 1) if line.strip())


def _query(number: int, line: bytes, generation: GenerationRoute) -> GoldenQuery:
    """Raises ApiError."""
    try:
        body = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _fault(f"it is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _fault("it is not a JSON object")
    check_members(body, MEMBERS)
    k = read_number(body, "k", default=DEFAULT_K, most=MOST_K)
    return GoldenQuery(number, _searched_with(body, generation), _ids(body, k), read_filter(body), k)


def _searched_with(body: dict[str, Any], generation: GenerationRoute) -> Query:
    if generation.encoder is not None:
        text = read_string(body, "query")
        if text is None or body.get("vector") is not None:
            raise _fault("it takes query, a text: this index has a model, which makes the vectors")
        return Query(text=text)
    if body.get("vector") is None or body.get("query") is not None:
        raise _fault("it takes vector: this index has no model that makes one of a text")
    space = Space(fingerprint=generation.fingerprint)
    return Query(vector=check_vector(read_vector(body["vector"], "vector"), space, generation, "vector"))


def _ids(body: dict[str, Any], k: int) -> tuple[str, ...]:
    ids = body.get("ids")
    if not isinstance(ids, list) or not ids:
        raise _fault("ids takes the documents that are to be found, as a list")
    if len(ids) > k:
        raise _fault(f"ids names {len(ids)} documents, and k is {k}: they can never all be found")
    return tuple(check_id(id_, f"ids[{index}]") for index, id_ in enumerate(ids))


def _fault(detail: str) -> ApiError:
    return ApiError(400, "invalid_line", detail)
