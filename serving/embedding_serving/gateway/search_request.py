"""What a search asks for, checked member by member before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..contract.index import MAX_TEXT_BYTES
from ..contract.settings import GatewaySettings
from ..filters import Filter
from ..http.body import kind, read_choice
from ..http.problems import ApiError, invalid
from .members import (
    Include,
    Space,
    Vectors,
    check_members,
    read_filter,
    read_include,
    read_number,
    read_space,
    read_string,
    read_vector,
)

DEFAULT_K = 10
FUSED_DEPTH = 50
MEMBERS = frozenset(
    {
        "query", "vector", "keywords", "fingerprint", "model", "revision", "k", "filter", "hybrid", "rerank",
        "include", "partial", "consistency",
    }
)  # fmt: skip
BATCH_MEMBERS = frozenset({"searches"})
CONSISTENCIES = ("eventual", "strong")


@dataclass(frozen=True, slots=True)
class Limits:
    max_k: int
    max_batch: int
    partial_results: bool
    reranks: bool
    rerank_candidates: int

    @classmethod
    def of(cls, settings: GatewaySettings) -> "Limits":
        return cls(
            settings.max_k,
            settings.max_batch,
            settings.partial_results,
            settings.reranker is not None,
            settings.rerank_candidates,
        )


@dataclass(frozen=True, slots=True)
class Rerank:
    """query: what the hits are to be relevant to. candidates: how many are ordered again."""

    query: str
    candidates: int


@dataclass(frozen=True, slots=True)
class Search:
    """text or vector (float32 [d], as the client sent it): what hits are to be near to; keywords: what they are to contain.

    Both together, a hybrid search: the two lists are fused. at: path of the search in the body, for errors.
    """

    at: str
    text: str | None
    vector: Vectors | None
    space: Space
    keywords: str | None
    k: int
    filter_: Filter | None
    include: Include
    rerank: Rerank | None
    partial: bool
    strong: bool

    @property
    def near(self) -> bool:
        return self.text is not None or self.vector is not None

    @property
    def hybrid(self) -> bool:
        return self.near and self.keywords is not None

    @property
    def depth(self) -> int:
        """Hits to find, of which k are answered."""
        return max(self.k, self.rerank.candidates) if self.rerank else self.k

    @property
    def width(self) -> int:
        """Hits of each list; what two lists have in common lies deeper than what is answered."""
        return max(self.depth, FUSED_DEPTH) if self.hybrid else self.depth

    def field(self, name: str) -> str:
        return _at(self.at, name)


def parse_searches(body: dict[str, Any], limits: Limits) -> list[Search]:
    check_members(body, BATCH_MEMBERS)
    searches = body.get("searches")
    if not isinstance(searches, list) or not searches:
        raise invalid("searches", f"searches is {kind(searches) if searches != [] else 'empty'}: it takes a list of searches")
    if len(searches) > limits.max_batch:
        detail = f"searches has {len(searches)} members, a request may have {limits.max_batch}: send several requests"
        raise ApiError(413, "batch_too_large", detail, field="searches")
    for index, one in enumerate(searches):
        if not isinstance(one, dict):
            raise invalid(f"searches[{index}]", f"searches[{index}] is {kind(one)}: it takes an object")
    return [parse_search(one, limits, f"searches[{index}]") for index, one in enumerate(searches)]


def parse_search(body: dict[str, Any], limits: Limits, at: str = "") -> Search:
    """Raises ApiError that names the member."""
    check_members(body, MEMBERS, at)
    text, keywords = _read_text(body, "query", at), _read_text(body, "keywords", at)
    vector = None if body.get("vector") is None else read_vector(body["vector"], _at(at, "vector"))
    keywords = _keywords(body, at, text, vector is not None, keywords)
    k = read_number(body, "k", default=min(DEFAULT_K, limits.max_k), most=limits.max_k, at=at)
    return Search(
        at=at,
        text=text,
        vector=vector,
        space=read_space(body, at),
        keywords=keywords,
        k=k,
        filter_=read_filter(body, at),
        include=read_include(body, at),
        rerank=_rerank(body, at, text or keywords, k, limits),
        partial=_partial(body, at, limits),
        strong=read_choice(body, "consistency", CONSISTENCIES, at) == "strong",
    )


def _keywords(body: Mapping[str, Any], at: str, text: str | None, has_vector: bool, keywords: str | None) -> str | None:
    """What is searched for by keyword, after a look at which of the three ways are asked for together."""
    if text is not None and has_vector:
        raise invalid(_at(at, "query"), "query and vector are both given: one of them says what hits are to be near to")
    near = text is not None or has_vector
    if not near and keywords is None:
        raise invalid(_at(at, "query"), f"{at or 'a search'} takes query (a text), vector or keywords")
    hybrid = body.get("hybrid")
    if hybrid not in (None, True, False):
        field = _at(at, "hybrid")
        raise invalid(field, f"{field} is {kind(hybrid)}: it takes true or false")
    if not hybrid:
        if near and keywords is not None:
            detail = "keywords beside query or vector makes a hybrid search: say hybrid: true"
            raise invalid(_at(at, "keywords"), detail)
        return keywords
    if keywords is None and text is None:
        raise invalid(_at(at, "hybrid"), "a hybrid search by vector takes keywords too")
    if not near:
        raise invalid(_at(at, "hybrid"), "a hybrid search takes query or vector beside keywords")
    return keywords if keywords is not None else text


def _read_text(body: Mapping[str, Any], name: str, at: str) -> str | None:
    text = read_string(body, name, at)
    if text is not None and 4 * len(text) > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES:
        field = _at(at, name)
        raise ApiError(413, "text_too_long", f"{field} has more than {MAX_TEXT_BYTES} bytes: shorten it", field=field)
    return text


def _rerank(body: Mapping[str, Any], at: str, query: str | None, k: int, limits: Limits) -> Rerank | None:
    value = body.get("rerank")
    if value is None or value is False:
        return None
    field = _at(at, "rerank")
    if not limits.reranks:
        raise ApiError(
            400, "rerank_unavailable", "this service has no re-ranker: set spec.rerank, or leave it out", field=field
        )
    candidates = limits.rerank_candidates
    if isinstance(value, dict):
        check_members(value, frozenset({"query", "candidates"}), field)
        query = read_string(value, "query", field) or query
        candidates = read_number(value, "candidates", default=candidates, most=limits.max_k, at=field)
    elif value is not True:
        raise invalid(field, f"{field} is {kind(value)}: it takes true, or an object with query and candidates")
    if query is None:
        raise invalid(field, f'{field} of a search by vector takes the text to compare with: {{"query": ...}}')
    return Rerank(query, max(k, min(candidates, limits.max_k)))


def _partial(body: Mapping[str, Any], at: str, limits: Limits) -> bool:
    value = body.get("partial")
    if value is None:
        return limits.partial_results
    field = _at(at, "partial")
    if not isinstance(value, bool):
        raise invalid(field, f"{field} is {kind(value)}: it takes true or false")
    if value and not limits.partial_results:
        raise invalid(field, "this service does not answer in part: set spec.partialResults to Allow, or leave it out")
    return value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
