"""Re-ranking: TEI's `/rerank`, and `/v1/rerank` as Jina and Cohere made it usual."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.model import Task
from ...http.body import read_flag
from ...http.problems import invalid
from ..engines.engine import Vectors
from ..service import Encoded, RerankRequest
from .call import Answer, Call, HotRoute, json_answer
from .fields import read_priority, read_text, read_texts, read_truncation
from .openai import check_model
from .problems import Dialect


async def rerank(call: Call) -> Answer:
    """[{index, score, text?}], best first; scores between 0 and 1, or the model's logits with `raw_scores`."""
    texts = read_texts(call.body, "texts", call.limits)
    raw = read_flag(call.body, "raw_scores", default=False)
    with_text = read_flag(call.body, "return_text", default=False)
    encoded = await _scored(call, texts)
    scores = encoded.vectors if raw else _probability(encoded.vectors)
    return json_answer(
        [{"index": row, "score": float(scores[row])} | ({"text": texts[row]} if with_text else {}) for row in _ranked(scores)]
    )


async def rerank_v1(call: Call) -> Answer:
    texts = read_texts(call.body, "documents", call.limits)
    top = call.body.get("top_n")
    if top is not None and (type(top) is not int or top < 1):
        raise invalid("top_n", "top_n takes a number of at least 1")
    with_text = read_flag(call.body, "return_documents", default=False)
    encoded = await _scored(call, texts)
    scores = _probability(encoded.vectors)
    results = [
        {"index": row, "relevance_score": float(scores[row])} | ({"document": {"text": texts[row]}} if with_text else {})
        for row in _ranked(scores)[:top]
    ]
    answer: dict[str, Any] = {"model": call.info.model, "results": results, "usage": {"total_tokens": encoded.tokens}}
    return json_answer(answer)


async def _scored(call: Call, texts: Sequence[str]) -> Encoded:
    query = read_text(call.body, "query", call.limits)
    check_model(call.body, call.info)
    return await call.service.rerank(
        RerankRequest(
            client=call.client,
            query=query,
            texts=texts,
            truncation=read_truncation(call.body),
            priority=read_priority(call.headers, len(texts)),
        )
    )


def _probability(logits: Vectors) -> Vectors:
    """The logistic function, written so that no logit overflows."""
    probability: Vectors = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return probability


def _ranked(scores: Vectors) -> list[int]:
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order


ROUTES = (
    HotRoute("/rerank", Task.RERANK, Dialect.TEI, "texts", rerank),
    HotRoute("/v1/rerank", Task.RERANK, Dialect.OWN, "documents", rerank_v1),
)
