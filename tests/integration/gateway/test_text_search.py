"""Texts in, answers out: the real model behind the real gateway and shards."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from embedding_serving.gateway.openapi import DOCUMENTED
from integration.embed import server as embed

from .world import Client, GatewayProcess

TEXTS = {
    "certificates": "Certificates are rotated every ninety days by the operator.",
    "backups": "A backup of the database is taken every night and kept for a month.",
    "cats": "The cat sleeps on the warm stones by the harbour.",
    "soup": "Boil the onions in butter before the stock is added to the soup.",
    "orbit": "The probe entered an orbit around Mars after seven months of travel.",
}


@pytest.fixture(autouse=True)
def stored(text_client: Client) -> None:
    text_client.put(
        [
            {"id": id_, "text": text, "metadata": {"lang": "en", "page": number}}
            for number, (id_, text) in enumerate(TEXTS.items())
        ]
    )


@pytest.mark.parametrize(
    ("query", "nearest"),
    [("how often do TLS keys change", "certificates"), ("a pet that naps", "cats"), ("cooking with onion", "soup")],
)
def test_a_question_finds_the_document_that_answers_it(text_client: Client, query: str, nearest: str) -> None:
    answer = text_client.post("/v1/search", {"query": query, "k": 2, "consistency": "strong"})
    assert answer["hits"][0]["id"] == nearest
    assert answer["hits"][0]["text"] == TEXTS[nearest]
    assert (answer["generation"], answer["model"]) == (1, embed.MODEL_NAME)
    assert answer["shards"] == {"total": 2, "ok": 2, "failed": 0}


def test_a_search_by_text_is_the_search_by_its_vector(text_client: Client, encoder: embed.EmbedServer) -> None:
    answer = httpx.post(f"{encoder.url}/embed/batch", json={"texts": ["a space craft"], "input_type": "query"}).json()
    space = {"fingerprint": answer["fingerprint"]}
    strong = {"k": 3, "consistency": "strong"}
    by_vector = text_client.post("/v1/search", {"vector": answer["embeddings"][0], **space, **strong})["hits"]
    by_text = text_client.post("/v1/search", {"query": "a space craft", **strong})["hits"]
    assert [hit["id"] for hit in by_vector] == [hit["id"] for hit in by_text]
    assert np.allclose([hit["score"] for hit in by_vector], [hit["score"] for hit in by_text], atol=1e-4)


@pytest.mark.parametrize("space", [{}, {"fingerprint": "other"}, {"model": embed.MODEL_NAME}, {"revision": "ffffffff"}])
def test_a_vector_that_does_not_name_the_active_space_is_refused(
    text_client: Client, prepared: embed.Prepared, space: dict[str, str]
) -> None:
    problem = text_client.post("/v1/search", {"vector": [0.1] * 384, **space}, 409)
    assert problem["code"] == "fingerprint_mismatch"
    assert prepared.fingerprint in problem["detail"]
    document = {"id": "x", "text": "a", "vector": [0.1] * 384, **space}
    assert text_client.post("/v1/documents", {"documents": [document]}, 409)["code"] == "fingerprint_mismatch"
    text_client.get("/v1/documents/x?consistency=strong", 404)


def test_a_vector_may_name_the_revision(text_client: Client) -> None:
    text_client.post("/v1/search", {"vector": [0.1] * 384, "revision": embed.REVISION, "model": embed.MODEL_NAME})


def test_a_document_without_a_text_is_refused(text_client: Client, prepared: embed.Prepared) -> None:
    document = {"id": "x", "vector": [0.1] * 384, "fingerprint": prepared.fingerprint}
    assert text_client.post("/v1/documents", {"documents": [document]}, 400)["code"] == "text_required"


def test_a_text_that_the_encoder_does_not_take_fails_alone(text_client: Client) -> None:
    documents = [{"id": "short", "text": "short"}, {"id": "long", "text": "x" * 300_000}, {"id": "last", "text": "last"}]
    results = text_client.post("/v1/documents", {"documents": documents})["results"]
    assert [result.get("error", {}).get("code") for result in results] == [None, "text_too_long", None]
    text_client.post("/v1/documents/delete", {"ids": ["short", "last"]})


def test_a_new_text_is_found_by_its_new_meaning(text_client: Client) -> None:
    text_client.put([{"id": "changing", "text": "Trains leave from platform nine."}])
    text_client.patch("/v1/documents/changing", {"text": "Volcanoes erupt when magma rises."})
    hits = text_client.ids({"query": "molten rock", "k": 1, "consistency": "strong"})
    text_client.delete("/v1/documents/changing")
    assert hits == ["changing"]


def test_an_export_with_vectors_names_their_space_and_is_stored_again(text_client: Client, prepared: embed.Prepared) -> None:
    exported = text_client.http.post("/v1/documents/export", json={"include": ["text", "metadata", "vector"]}).text
    found = [json.loads(line) for line in exported.splitlines()]
    assert {one["fingerprint"] for one in found if "vector" in one} == {prepared.fingerprint}
    last = text_client.http.post("/v1/documents/bulk", content=exported).text.splitlines()[-1]
    assert (json.loads(last)["accepted"], json.loads(last)["failed"]) == (len(found), 0)
    page = text_client.post("/v1/documents/scroll", {"include": ["text", "metadata", "vector"], "consistency": "strong"})
    before = {one["id"]: one["vector"] for one in found if "vector" in one}
    assert {one["id"]: one["vector"] for one in page["documents"] if "vector" in one} == before


def test_filters_and_keywords_narrow_and_fuse(text_client: Client) -> None:
    filtered = {"must": [{"key": "page", "range": {"gte": 2}}]}
    ids = text_client.ids({"query": "certificates", "filter": filtered, "consistency": "strong"})
    assert set(ids) == {"cats", "soup", "orbit"}
    assert text_client.ids({"keywords": "onions", "consistency": "strong"}) == ["soup"]
    hybrid = text_client.ids({"query": "harbour", "hybrid": True, "k": 3, "consistency": "strong"})
    assert hybrid[0] == "cats"


def test_one_request_id_joins_the_logs(text_client: Client, text_service: GatewayProcess, encoder: embed.EmbedServer) -> None:
    text_client.post("/v1/search", {"query": "one id for all"}, X_Request_Id="joined-42")
    assert any(line.get("request_id") == "joined-42" for line in text_service.log)
    assert '"joined-42"' in encoder.log()


@pytest.mark.parametrize(
    ("method", "path", "example"),
    [
        (method, path, example)
        for (method, path), route in DOCUMENTED.items()
        for example in [*route.examples.values()] or [None]
    ],
    ids=str,
)
def test_every_example_of_the_documentation_works(text_client: Client, method: str, path: str, example: Any) -> None:
    text_client.put([{"id": "guide-1", "text": "Rotate certificates every 90 days.", "metadata": {"lang": "en", "page": 3}}])
    content = example.encode() if isinstance(example, str) else b"" if example is None else json.dumps(example).encode()
    answer = text_client.http.request(method, path.replace("{id}", "guide-1"), content=content)
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        assert not any("error" in result for result in answer.json().get("results", []))
    else:
        assert '"error"' not in answer.text


def test_the_documentation_lists_every_route(text_client: Client) -> None:
    paths = text_client.get("/openapi.json")["paths"]
    assert {(method.upper(), path) for path, routes in paths.items() for method in routes} >= set(DOCUMENTED)
