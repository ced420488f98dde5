"""Shapes of answers beyond what official clients show."""

import httpx
import numpy as np
import pytest

from embedding_serving.embed.http.openapi import DOCUMENTED

from .server import EmbedServer, Prepared, serving

OCTETS = {"accept": "application/octet-stream"}
EXAMPLES = [
    (path, name) for path, route in DOCUMENTED.items() for name in route.examples if "rerank" not in path
]  # fmt: skip
NAMED_METRICS = (
    "embedding_latency_seconds_count",
    "embedding_requests_total",
    "embedding_batch_size_count",
    "embedding_queue_size",
    "embedding_in_flight_requests",
    "embedding_cache_hit_rate",
    "embedding_queued_tokens",
    "embedding_queue_oldest_age_seconds",
    "embedding_tokens_total",
    "embedding_batch_padded_ratio",
)


@pytest.mark.parametrize("port", ["url", "admin_url"])
def test_every_promised_metric_is_there_on_both_ports(server: EmbedServer, port: str) -> None:
    httpx.post(f"{server.url}/embed", json={"text": "counted"}).raise_for_status()
    text = httpx.get(f"{getattr(server, port)}/metrics").text
    assert [name for name in NAMED_METRICS if f"\n{name}" not in text] == []


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_every_documented_example_works(server: EmbedServer, path: str, example: str) -> None:
    answer = httpx.post(server.url + path, json=DOCUMENTED[path].examples[example])
    assert answer.status_code == 200, answer.text


def test_the_documentation_lists_hot_and_cold_routes(server: EmbedServer) -> None:
    schema = httpx.get(f"{server.url}/openapi.json").json()
    assert set(DOCUMENTED) | {"/v1/info", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(schema["paths"])
    embeddings = schema["paths"]["/v1/embeddings"]["post"]
    assert set(embeddings["responses"]) >= {"200", "400", "413", "429", "503"}
    assert embeddings["requestBody"]["content"]["application/json"]["examples"]
    assert "Problem" in schema["components"]["schemas"]


def test_the_simple_forms(server: EmbedServer, minilm: Prepared) -> None:
    one = httpx.post(f"{server.url}/embed", json={"text": "hello world"}).json()
    assert (one["model"], one["fingerprint"], one["dimensions"], one["tokens"]) == ("minilm", minilm.fingerprint, 384, 4)
    assert len(one["embedding"]) == 384
    batch = httpx.post(f"{server.url}/embed/batch", json={"texts": ["hello world", "a"]}).json()
    assert batch["tokens"] == 7
    assert np.allclose(batch["embeddings"][0], one["embedding"], atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["hello world", "a"]}),
        ("/embed", {"inputs": ["hello world", "a"]}),
        ("/embed/batch", {"texts": ["hello world", "a"]}),
    ],
)
def test_raw_float32_on_request(server: EmbedServer, path: str, body: dict[str, object]) -> None:
    answer = httpx.post(server.url + path, json=body, headers=OCTETS)
    assert answer.headers["content-type"] == "application/octet-stream"
    shape = (int(answer.headers["x-embedding-count"]), int(answer.headers["x-embedding-dimensions"]))
    assert answer.headers["x-embedding-tokens"] == "7"
    vectors = np.frombuffer(answer.content, dtype="<f4").reshape(shape)
    floats = np.array(httpx.post(f"{server.url}/embed", json={"inputs": ["hello world", "a"]}).json())
    assert np.allclose(vectors, floats, atol=1e-6)


def test_a_query_and_a_document_get_their_prefixes(prefixed: Prepared, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(prefixed, tmp_path_factory.mktemp("roles")) as server:

        def vector(text: str, **more: str) -> np.ndarray:
            answer = httpx.post(f"{server.url}/v1/embeddings", json={"input": text, **more})
            return np.array(answer.json()["data"][0]["embedding"])

        for role in ("query", "search_query", "QUERY"):
            assert vector("a", input_type=role) @ vector("query: a", input_type="none") > 0.99999
        for more in ({}, {"input_type": "document"}, {"input_type": "passage"}, {"input_type": "search_document"}):
            assert vector("a", **more) @ vector("passage: a", input_type="none") > 0.99999


@pytest.mark.parametrize("priority", ["interactive", "bulk", "BULK"])
def test_a_priority_is_taken(server: EmbedServer, priority: str) -> None:
    answer = httpx.post(f"{server.url}/embed", json={"text": "a"}, headers={"x-embedding-priority": priority})
    assert answer.status_code == 200


def test_an_unknown_priority_is_refused(server: EmbedServer) -> None:
    answer = httpx.post(f"{server.url}/embed", json={"text": "a"}, headers={"x-embedding-priority": "now"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
