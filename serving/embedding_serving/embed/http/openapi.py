"""Documentation of the hot routes, which FastAPI does not see. Every example here is sent to a real server by a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from ...contract.problem import Problem
from ..texts import ACCEPTED_INPUT_TYPES, DEFAULT_INPUT_TYPE
from .fields import INTERACTIVE_TEXTS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_TEXTS: Schema = {"type": "array", "items": _TEXT, "minItems": 1}
_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT: Schema = {
    "oneOf": [_TEXT, _TEXTS, _IDS, {"type": "array", "items": _IDS, "minItems": 1}],
    "description": "One text, several, or token ids of the model's own vocabulary (special tokens are put around them).",
}
_ROLE: Schema = {
    "type": "string",
    "enum": list(ACCEPTED_INPUT_TYPES),
    "default": DEFAULT_INPUT_TYPE.value,
    "description": "What the text is: the prefix that the model wants for it is put in front. `none` puts nothing.",
}
_TRUNCATE: Schema = {
    "type": "boolean",
    "default": True,
    "description": "Cut texts that are longer than the model reads; false refuses them.",
}
_DIRECTION: Schema = {"type": "string", "enum": ["right", "left"], "default": "right", "description": "Which end is cut."}
_MODEL: Schema = {
    "type": "string",
    "description": "Name, revision or fingerprint of the model, or nothing. Another model's name is refused.",
}
_DIMENSIONS: Schema = {"type": "integer", "description": "The model's own number, or nothing."}
_NORMALIZE: Schema = {"type": "boolean", "description": "Vectors of length 1; absent = as the model is declared."}
_TEI_MEMBERS: dict[str, Schema] = {
    "prompt_name": _ROLE,
    "truncate": _TRUNCATE,
    "truncation_direction": _DIRECTION,
    "normalize": _NORMALIZE,
    "dimensions": _DIMENSIONS,
}
_SIMPLE_MEMBERS: dict[str, Schema] = {"input_type": _ROLE, "truncate": _TRUNCATE, "normalize": _NORMALIZE, "model": _MODEL}


@dataclass(frozen=True, slots=True)
class Documented:
    """A hot route: `members` of its body, of which `required`; whole bodies as `examples`."""

    summary: str
    members: Mapping[str, Schema]
    required: Sequence[str]
    examples: Mapping[str, Mapping[str, Any]]
    vectors: bool = True


DOCUMENTED: Mapping[str, Documented] = {
    "/v1/embeddings": Documented(
        "Vectors of texts, as OpenAI's clients ask for them",
        {
            "input": _INPUT,
            "model": _MODEL,
            "encoding_format": {"type": "string", "enum": ["float", "base64"], "default": "float"},
            "dimensions": _DIMENSIONS,
            "input_type": _ROLE,
            "truncate": _TRUNCATE,
            "truncation_direction": _DIRECTION,
            "user": {"type": "string", "description": "Ignored."},
        },
        ["input"],
        {
            "one text": {"input": "How do I rotate a certificate?", "input_type": "query"},
            "several texts, base64": {"input": ["first text", "second text"], "encoding_format": "base64"},
            "token ids": {"input": [[7592, 2088], [3835]]},
        },
    ),
    "/embed": Documented(
        "Vectors of texts: text-embeddings-inference's form (`inputs`), or one text in the simple form (`text`)",
        {"inputs": _INPUT, "text": _TEXT, **_TEI_MEMBERS, **_SIMPLE_MEMBERS},
        [],
        {
            "text-embeddings-inference": {"inputs": ["first text", "second text"], "prompt_name": "query"},
            "simple": {"text": "one text"},
        },
    ),
    "/embed/batch": Documented(
        "Vectors of several texts, simple form",
        {"texts": _TEXTS, **_SIMPLE_MEMBERS},
        ["texts"],
        {"two texts": {"texts": ["first text", "second text"], "input_type": "document"}},
    ),
    "/similarity": Documented(
        "Cosine of one text to others",
        {
            "inputs": {
                "type": "object",
                "required": ["source_sentence", "sentences"],
                "properties": {"source_sentence": _TEXT, "sentences": _TEXTS},
            },
            **_TEI_MEMBERS,
        },
        ["inputs"],
        {"two sentences": {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a tax return"]}}},
        vectors=False,
    ),
    "/rerank": Documented(
        "Texts by relevance to a query, best first, as text-embeddings-inference does it; needs a model of task Rerank",
        {
            "query": _TEXT,
            "texts": _TEXTS,
            "raw_scores": {"type": "boolean", "default": False, "description": "Logits instead of values from 0 to 1."},
            "return_text": {"type": "boolean", "default": False},
            "truncate": _TRUNCATE,
            "truncation_direction": _DIRECTION,
        },
        ["query", "texts"],
        {"two texts": {"query": "what is a pod", "texts": ["A pod is a group of containers.", "Whales live in pods."]}},
        vectors=False,
    ),
    "/v1/rerank": Documented(
        "Documents by relevance to a query, best first, as Jina and Cohere do it; needs a model of task Rerank",
        {
            "query": _TEXT,
            "documents": _TEXTS,
            "top_n": {"type": "integer", "minimum": 1},
            "return_documents": {"type": "boolean", "default": False},
            "model": _MODEL,
        },
        ["query", "documents"],
        {"best of two": {"query": "what is a pod", "documents": ["A group of containers.", "Whales."], "top_n": 1}},
        vectors=False,
    ),
}

_ERRORS = {
    "400": "Something in the body is not valid; `field` says what",
    "404": "Another model is asked for",
    "413": "Too many bytes, texts or tokens; a retry cannot help",
    "429": "The queue is full or this client's allowance is used up; Retry-After says when to come back",
    "503": "The model is being loaded",
}


def document_hot_routes(app: FastAPI) -> None:
    """Puts the hot routes beside those that FastAPI finds by itself."""
    generate = app.openapi

    def with_hot_routes() -> dict[str, Any]:
        schema = generate()
        schema["components"].setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        schema["paths"] |= {path: {"post": _operation(path, route)} for path, route in DOCUMENTED.items()}
        return schema

    app.openapi = with_hot_routes  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def _operation(path: str, route: Documented) -> dict[str, Any]:
    answer: dict[str, Any] = {"application/json": {}} | ({"application/octet-stream": {}} if route.vectors else {})
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "summary": route.summary,
        "operationId": path.strip("/").replace("/", "_"),
        "parameters": [
            {
                "name": "X-Embedding-Priority",
                "in": "header",
                "required": False,
                "description": f"Absent: a request of more than {INTERACTIVE_TEXTS} texts is bulk.",
                "schema": {"type": "string", "enum": ["interactive", "bulk"]},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "properties": dict(route.members), "required": list(route.required)},
                    "examples": {name: {"value": body} for name, body in route.examples.items()},
                }
            },
        },
        "responses": {
            "200": {"description": "float32 vectors, raw in octet-stream" if route.vectors else "Scores", "content": answer},
            **{status: {"description": text, "content": problem} for status, text in _ERRORS.items()},
        },
    }
