"""Documentation of the hot routes, which FastAPI does not see. Every example here is sent to a real gateway by a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from ..contract.problem import Problem

Schema = dict[str, Any]

_ENGLISH = {"must": [{"key": "lang", "match": {"value": "en"}}]}
_FILTER: Schema = {
    "type": "object",
    "description": "must, should, must_not: lists of conditions {key, match|range|exists|is_null|is_empty} or {has_id}; "
    "min_should: {conditions, min_count}. Dots in a key lead into objects.",
    "example": _ENGLISH,
}
_VECTOR: Schema = {
    "oneOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 1},
        {"type": "string", "contentEncoding": "base64", "description": "little-endian float32"},
    ],
    "description": "In the active vector space, which `fingerprint` or `revision` names where the index has a model.",
}
_SPACE: dict[str, Schema] = {
    "fingerprint": {"type": "string", "description": "Vector space of the vectors given, as /v1/info tells the active one."},
    "model": {"type": "string", "description": "Name of the model; checked, but not enough to name a vector space."},
    "revision": {"type": "string", "description": "Revision of the model; names the vector space too."},
}
_INCLUDE: Schema = {
    "type": "array",
    "items": {"type": "string", "enum": ["text", "metadata", "vector"]},
    "default": ["text", "metadata"],
}
_CONSISTENCY: Schema = {
    "type": "string",
    "enum": ["eventual", "strong"],
    "default": "eventual",
    "description": "strong: of the writers alone, with every acknowledged write.",
}
_SEARCH: dict[str, Schema] = {
    "query": {"type": "string", "description": "A text; it is embedded with the index's model."},
    "vector": _VECTOR,
    "keywords": {"type": "string", "description": "Words to find (BM25); beside query or vector with hybrid: true."},
    **_SPACE,
    "k": {"type": "integer", "minimum": 1, "default": 10, "description": "Most hits."},
    "filter": _FILTER,
    "hybrid": {"type": "boolean", "default": False, "description": "Fuse nearness and keywords by reciprocal rank."},
    "rerank": {
        "oneOf": [{"type": "boolean"}, {"type": "object", "properties": {"query": {}, "candidates": {}}}],
        "description": "Order the best candidates again with the service's re-ranker; `reranked` says whether it answered.",
    },
    "include": _INCLUDE,
    "partial": {"type": "boolean", "description": "Whether to answer without shards that are down, where the service may."},
    "consistency": _CONSISTENCY,
}
_DOCUMENT: dict[str, Schema] = {
    "id": {"type": "string", "minLength": 1, "description": "1 to 512 bytes."},
    "text": {"type": "string", "description": "Required where the index has a model."},
    "vector": _VECTOR,
    **_SPACE,
    "metadata": {"type": "object", "description": "Any JSON object of at most 64 KiB."},
    "if_version": {"type": "string", "description": 'Only if the document has this version; "0": only if there is none.'},
    "ttl_seconds": {"type": "number", "exclusiveMinimum": 0, "description": "The document is gone after this time."},
}
_CONTENT = {name: schema for name, schema in _DOCUMENT.items() if name != "id"} | {
    "ttl_seconds": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "description": "The document is gone after this time; null: it does not expire any more.",
    }
}
_LINE: dict[str, Schema] = {
    **_DOCUMENT,
    "expires_at": {"type": "string", "format": "date-time", "description": "When the document is gone, as an export tells it."},
    "version": {"type": "string", "description": "Of the document when it was exported; it is left aside."},
    "delete": {"type": "boolean", "description": "Delete the document instead."},
}
_SEARCH_HEADERS = ("X-Timeout", "X-Index-Position")
_WRITE_HEADERS = ("X-Timeout", "Idempotency-Key")
_HEADERS: dict[str, str] = {
    "X-Timeout": "Seconds that the request may take, up to the service's own limit.",
    "X-Index-Position": "What a write answered in `position`: the read has seen that write. Several, joined by commas.",
    "Idempotency-Key": "Sent again under the same key within an hour, a write is done once; another write is refused.",
}


@dataclass(frozen=True, slots=True)
class Documented:
    """A hot route: `members` of its body, of which `required`; whole bodies as `examples`; `parameters` of its query."""

    summary: str
    members: Mapping[str, Schema] = field(default_factory=dict)
    required: Sequence[str] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    headers: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    body_type: str = "application/json"
    answer_type: str = "application/json"


DOCUMENTED: Mapping[tuple[str, str], Documented] = {
    ("POST", "/v1/search"): Documented(
        "The documents nearest to a text or a vector, or that contain keywords",
        _SEARCH,
        [],
        {
            "by text": {"query": "how do I rotate a certificate", "k": 5},
            "filtered": {
                "query": "backup",
                "filter": {"must": [{"key": "lang", "match": {"value": "en"}}]},
                "include": ["text"],
            },
            "by keywords": {"keywords": "certificate"},
            "hybrid, strong": {"query": "rotate certificate", "hybrid": True, "consistency": "strong"},
        },
        _SEARCH_HEADERS,
    ),
    ("POST", "/v1/search/batch"): Documented(
        "Several searches in one request, answered in their order",
        {"searches": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": _SEARCH}}},
        ["searches"],
        {"two searches": {"searches": [{"query": "certificates", "k": 3}, {"keywords": "backup"}]}},
        _SEARCH_HEADERS,
    ),
    ("POST", "/v1/documents"): Documented(
        "Store documents: new ones, or in place of those of the same id",
        {
            "documents": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "properties": _DOCUMENT, "required": ["id"]},
            },
            **_SPACE,
        },
        ["documents"],
        {
            "two documents": {
                "documents": [
                    {"id": "guide-1", "text": "Rotate certificates every 90 days.", "metadata": {"lang": "en", "page": 3}},
                    {"id": "guide-2", "text": "Backups run at night.", "ttl_seconds": 86400},
                ]
            }
        },
        _WRITE_HEADERS,
    ),
    ("POST", "/v1/documents/bulk"): Documented(
        "A stream of documents, one a line, as an export has them too; empty lines are skipped. The answer is a stream of "
        "lines: errors by line number, `durable_line` from time to time, sums at the end",
        _LINE,
        ["id"],
        {"two lines": '{"id": "guide-3", "text": "Certificates expire."}\n{"id": "guide-2", "delete": true}\n'},
        _WRITE_HEADERS,
        {
            "results": "`errors` (default), or `all` for a line for every stored document too",
            "from_line": "Go on under the same Idempotency-Key: `durable_line` + 1 of an earlier answer",
            "fingerprint": "Vector space of vectors in lines that name none",
            "model": "As in a line",
            "revision": "As in a line",
        },
        "application/x-ndjson",
        "application/x-ndjson",
    ),
    ("GET", "/v1/documents/{id}"): Documented(
        "One document",
        headers=_SEARCH_HEADERS,
        parameters={"include": "text, metadata, vector; joined by commas", "consistency": "eventual or strong"},
    ),
    ("PATCH", "/v1/documents/{id}"): Documented(
        "Change parts of a document: metadata is merged (RFC 7396), a new text is embedded",
        _CONTENT,
        [],
        {"metadata": {"metadata": {"page": 4, "draft": None}}, "text": {"text": "Rotate certificates every 60 days."}},
        _WRITE_HEADERS,
    ),
    ("DELETE", "/v1/documents/{id}"): Documented(
        "Delete one document; `deleted` says whether there was one",
        headers=_WRITE_HEADERS,
        parameters={"if_version": "Only if the document has this version"},
    ),
    ("POST", "/v1/documents/delete"): Documented(
        "Delete documents by id, or all that a filter matches",
        {"ids": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "filter": _FILTER},
        [],
        {
            "by id": {"ids": ["guide-8", "guide-9"]},
            "by filter": {"filter": {"must": [{"key": "page", "range": {"gte": 1000}}]}},
        },
        _WRITE_HEADERS,
    ),
    ("POST", "/v1/documents/scroll"): Documented(
        "Documents page by page, in the order of their ids",
        {
            "filter": _FILTER,
            "cursor": {"type": "string", "description": "Of the page before; with the same filter."},
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            "include": _INCLUDE,
            "consistency": _CONSISTENCY,
        },
        [],
        {"first page": {"limit": 2}, "ids alone": {"include": []}},
        _SEARCH_HEADERS,
    ),
    ("POST", "/v1/documents/export"): Documented(
        "Every document, or all that a filter matches, one a line",
        {"filter": _FILTER, "cursor": {"type": "string"}, "include": _INCLUDE},
        [],
        {
            "everything": {},
            "some, with vectors": {"filter": {"must": [{"key": "lang", "exists": True}]}, "include": ["vector"]},
        },
        answer_type="application/x-ndjson",
    ),
    ("POST", "/v1/count"): Documented(
        "How many documents there are, or match a filter",
        {"filter": _FILTER, "consistency": _CONSISTENCY},
        [],
        {"all": {}, "matching": {"filter": {"must_not": [{"key": "lang", "match": {"any": ["de", "fr"]}}]}}},
        _SEARCH_HEADERS,
    ),
    ("POST", "/v1/facet"): Documented(
        "Values of a member of the metadata and how many documents have them, the most frequent first",
        {
            "field": {"type": "string"},
            "filter": _FILTER,
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
            "consistency": _CONSISTENCY,
        },
        ["field"],
        {"languages": {"field": "lang"}},
        _SEARCH_HEADERS,
    ),
}

_ERRORS = {
    "400": "Something in the request is not valid; `field` says what",
    "401": "An API key is needed, or the one given is not known",
    "403": "The API key's role does not suffice",
    "404": "There is no such document",
    "409": "Another vector space, another version of the document, another write under a used key, or an expired request",
    "413": "Too many bytes, documents or searches; a retry cannot help",
    "429": "This client's allowance is used up; Retry-After says when to come back",
    "503": "A shard, the encoder or the route is not available; `detail` names it",
}


def document_hot_routes(app: FastAPI) -> None:
    """Puts the hot routes beside those that FastAPI finds by itself."""
    generate = app.openapi

    def with_hot_routes() -> dict[str, Any]:
        schema = generate()
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "eo_<id>_<43 characters>"}}
        for (method, path), route in DOCUMENTED.items():
            schema["paths"].setdefault(path, {})[method.lower()] = _operation(method, path, route)
        return schema

    app.openapi = with_hot_routes  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def _operation(method: str, path: str, route: Documented) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{method.lower()}_{path.strip('/').replace('/', '_').replace('{id}', 'id')}",
        "security": [{"key": []}],
        "parameters": [
            *(_parameter("path", name, "Percent-encoded") for name in ["id"] if "{id}" in path),
            *(_parameter("query", name, text) for name, text in route.parameters.items()),
            *(_parameter("header", name, _HEADERS[name]) for name in route.headers),
        ],
        "responses": {
            "200": {"description": "Done", "content": {route.answer_type: {}}},
            **{status: {"description": text, "content": problem} for status, text in _ERRORS.items()},
        },
    }
    if route.members:
        schema = {
            "type": "object",
            "properties": dict(route.members),
            "required": list(route.required),
            "additionalProperties": False,
        }
        examples = {name: {"value": body} for name, body in route.examples.items()}
        operation["requestBody"] = {
            "required": bool(route.required),
            "content": {route.body_type: {"schema": schema, "examples": examples}},
        }
    return operation


def _parameter(where: str, name: str, text: str) -> Schema:
    return {"name": name, "in": where, "required": where == "path", "description": text, "schema": {"type": "string"}}
