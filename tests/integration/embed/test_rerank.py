"""A (tiny, random) re-ranker, made by transformers itself."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from embedding_serving.contract.model import Task
from embedding_serving.embed.http.openapi import DOCUMENTED

from .server import EmbedServer, Prepared, serving

TEXTS = ["the cat sat on the mat", "a shard acknowledges a write", "one two three"]
QUERY = {"query": "where is the cat", "texts": TEXTS}


@pytest.fixture(scope="module")
def server(reranker: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedServer]:
    with serving(reranker, tmp_path_factory.mktemp("rerank")) as running:
        yield running


def post(server: EmbedServer, path: str, body: object) -> httpx.Response:
    return httpx.post(server.url + path, json=body)


def test_texts_come_best_first_with_their_places(server: EmbedServer) -> None:
    answer = post(server, "/rerank", QUERY | {"return_text": True}).json()
    scores = [entry["score"] for entry in answer]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert sorted(entry["index"] for entry in answer) == [0, 1, 2]
    assert all(entry["text"] == TEXTS[entry["index"]] for entry in answer)


def test_raw_scores_are_the_logits_of_the_shown_ones(server: EmbedServer) -> None:
    shown = {entry["index"]: entry["score"] for entry in post(server, "/rerank", QUERY).json()}
    raw = {entry["index"]: entry["score"] for entry in post(server, "/rerank", QUERY | {"raw_scores": True}).json()}
    for index, logit in raw.items():
        assert shown[index] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_the_usual_form_beside_teis(server: EmbedServer) -> None:
    body = {"query": QUERY["query"], "documents": TEXTS, "top_n": 2, "return_documents": True}
    answer = post(server, "/v1/rerank", body).json()
    best = post(server, "/rerank", QUERY).json()
    assert [entry["index"] for entry in answer["results"]] == [entry["index"] for entry in best[:2]]
    assert answer["results"][0]["document"]["text"] == TEXTS[best[0]["index"]]
    assert answer["usage"]["total_tokens"] > 0


def test_scores_agree_with_transformers(server: EmbedServer, reranker: Prepared) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = reranker.weights_dir.parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    inputs = tokenizer([QUERY["query"]] * 3, TEXTS, padding=True, return_token_type_ids=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[:, 0].tolist()
    raw = {entry["index"]: entry["score"] for entry in post(server, "/rerank", QUERY | {"raw_scores": True}).json()}
    assert [raw[index] for index in range(3)] == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_every_documented_example_works(server: EmbedServer, path: str) -> None:
    for body in DOCUMENTED[path].examples.values():
        assert post(server, path, body).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"texts": TEXTS}, "query"),
        ({"query": "", "texts": TEXTS}, "query"),
        ({"query": "a"}, "texts"),
        ({"query": "a", "texts": []}, "texts"),
        ({"query": "a", "texts": ["b", 1]}, "texts[1]"),
        ({"query": "a", "texts": ["b"], "raw_scores": 1}, "raw_scores"),
    ],
)
def test_bad_bodies_are_told_what_is_wrong(server: EmbedServer, body: object, field: str) -> None:
    answer = post(server, "/rerank", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_an_embedding_is_not_to_be_had_from_a_re_ranker(server: EmbedServer) -> None:
    answer = post(server, "/v1/embeddings", {"input": "a"})
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_task")
    assert httpx.get(f"{server.url}/v1/info").json()["task"] == Task.RERANK
    assert "reranker" in httpx.get(f"{server.url}/info").json()["model_type"]
