"""Encoders and re-rankers behind the gateway: re-ranked, not re-ranked, away, of another vector space."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedding_serving.contract.model import ModelOptions, Task
from fixtures.models import tiny_model
from integration.embed import server as embed
from integration.shard.shard_process import Operator

from .world import Client, GatewayProcess, Generation, free_port, gateway, generation, mount, route_of, start

TEXTS = {f"d{number}": f"document {number} about {subject}" for number, subject in enumerate("abcdefgh")}


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embed.EmbedServer]:
    work = tmp_path_factory.mktemp("reranker")
    made = embed.prepare(tiny_model(work / "model", reranker=True), work / "weights", ModelOptions(task=Task.RERANK))
    with embed.serving(made, work) as running:
        yield running


@pytest.fixture
def shards(operator: Operator, prepared: embed.Prepared, encoder: embed.EmbedServer, tmp_path: Path) -> Iterator[Generation]:
    made = generation(tmp_path, operator, fingerprint=prepared.fingerprint, dimensions=384, encoder=encoder.url)
    made.model, made.revision = embed.MODEL_NAME, embed.REVISION
    try:
        start(made)
        yield made
    finally:
        for pod in made.all:
            pod.stop()


@pytest.fixture
def started(operator: Operator, tmp_path: Path) -> Iterator[Any]:
    made: list[GatewayProcess] = []

    def start_one(shards: Generation, **changes: Any) -> GatewayProcess:
        one = gateway(tmp_path / f"gateway-{len(made)}", operator, **changes)
        mount(one, route_of(shards))
        made.append(one)
        one.start()
        return one.await_ready()

    yield start_one
    for one in made:
        one.kill()


def stored(client: Client) -> None:
    client.put([{"id": id_, "text": text} for id_, text in TEXTS.items()])


def test_hits_are_ordered_by_the_reranker(started: Any, shards: Generation, reranker: embed.EmbedServer) -> None:
    running = started(shards, reranker=reranker.url, rerank_candidates=8, rerank_timeout_seconds=5.0)
    query = "which document is about c"
    with Client(running) as client:
        stored(client)
        answer = client.post("/v1/search", {"query": query, "k": 3, "rerank": True, "consistency": "strong"})
        scores = httpx.post(f"{reranker.url}/rerank", json={"query": query, "texts": list(TEXTS.values())}).json()
        assert answer["reranked"] is True
        assert [hit["id"] for hit in answer["hits"]] == [f"d{one['index']}" for one in scores[:3]]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx([one["score"] for one in scores[:3]], abs=1e-4)
        bare = client.post("/v1/search", {"query": query, "rerank": True, "include": [], "consistency": "strong"})
        assert all("text" not in hit for hit in bare["hits"])


@pytest.mark.parametrize("fault", ["away", "slow"])
def test_without_its_reranker_a_search_has_its_first_order(
    started: Any, shards: Generation, reranker: embed.EmbedServer, fault: str
) -> None:
    url = f"http://127.0.0.1:{free_port()}" if fault == "away" else reranker.url
    running = started(shards, reranker=url, rerank_timeout_seconds=0.3)
    body = {"query": "document about e", "k": 3, "consistency": "strong"}
    with Client(running) as client:
        stored(client)
        plain = client.post("/v1/search", body)
        if fault == "slow":
            reranker.process.send_signal(signal.SIGSTOP)
        try:
            answer = client.post("/v1/search", body | {"rerank": True})
        finally:
            reranker.process.send_signal(signal.SIGCONT)
        assert (answer["reranked"], answer["hits"]) == (False, plain["hits"])


def test_without_its_encoder_texts_wait_and_vectors_go_on(started: Any, shards: Generation, prepared: embed.Prepared) -> None:
    shards.encoder = f"http://127.0.0.1:{free_port()}"
    running = started(shards, timeout_seconds=0.5)
    with Client(running) as client:
        assert client.post("/v1/search", {"query": "a"}, 503)["code"] == "encoder_unavailable"
        client.post("/v1/search", {"vector": [1.0] * 384, "fingerprint": prepared.fingerprint})
        body = {"documents": [{"id": "a", "text": "a"}]}
        assert client.post("/v1/documents", body, 503, X_Timeout="0.3")["code"] == "encoder_unavailable"
        client.get("/v1/documents/a", 404)


def test_an_encoder_of_another_vector_space_is_never_asked_for_vectors_of_this_one(
    started: Any, operator: Operator, encoder: embed.EmbedServer, tmp_path: Path
) -> None:
    made = generation(tmp_path, operator, fingerprint="elsewhere", dimensions=384, encoder=encoder.url)
    try:
        start(made)
        running = started(made, timeout_seconds=0.5)
        with Client(running) as client:
            problem = client.post("/v1/search", {"query": "a"}, 503)
            assert "fingerprint" in problem["detail"]
            client.post("/v1/documents", {"documents": [{"id": "a", "text": "a"}]}, 503, X_Timeout="0.5")
            assert client.post("/v1/count", {})["count"] == 0
    finally:
        for pod in made.all:
            pod.stop()
