"""From `kubectl apply` to vectors of the real model, and the ways a model changes while it serves."""

import json
import urllib.request
from pathlib import Path

import pytest

from cluster import Capability, Cluster
from fixtures.installation import NODE_ADDRESS
from fixtures.redis_process import RedisProcess
from fixtures.space import Space


def embed(space: Space, model: str, texts: list[str]) -> list[list[float]]:
    with space.cluster.port_forward(f"service/{model}-embed", 8080, namespace=space.name) as port:
        body = json.dumps({"model": model, "input": texts}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [item["embedding"] for item in json.load(answer)["data"]]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_a_model_becomes_ready_and_its_vectors_know_what_is_near(space: Space, minilm_source: dict[str, object]) -> None:
    space.apply_model("minilm", model={"source": minilm_source})
    status = space.wait_up_to_date("minilm")
    assert (status["dimensions"], status["readyReplicas"]) == (384, 1)
    assert status["engine"] in ("ONNXRuntime", "OpenVINO")
    cat, kitten, invoice = embed(space, "minilm", ["A cat sleeps.", "The kitten naps.", "The invoice is overdue."])
    assert len(cat) == 384
    assert cosine(cat, kitten) > 0.5 > 0.3 > cosine(cat, invoice)


def test_pods_share_a_redis_that_a_secret_names(
    space: Space, cluster: Cluster, minilm_source: dict[str, object], tmp_path: Path
) -> None:
    if Capability.POD_NETWORK not in cluster.capabilities:
        pytest.skip("pods can't reach a Redis of the tests on this cluster")
    redis = RedisProcess(tmp_path, NODE_ADDRESS)
    redis.start()
    try:
        space.kubectl("create", "secret", "generic", "redis", f"--from-literal=url={redis.url}")
        space.apply_model("m", model={"source": minilm_source}, cache={"redisSecretRef": {"name": "redis"}})
        space.wait_up_to_date("m")
        first = embed(space, "m", ["A text that is asked for twice."])
        with redis.client() as client:
            space.wait_for("the vector in Redis", lambda: client.dbsize() == 1, 10)
        redis.kill()
        assert embed(space, "m", ["Without the cache it is slower, not down."])
        redis.start()
        (pod,) = space.list("pods", "app.kubernetes.io/instance=m")
        space.delete("pod", pod["metadata"]["name"], wait=True)
        space.wait_up_to_date("m")
        assert embed(space, "m", ["A text that is asked for twice."]) == first
        assert redis.url not in json.dumps([space.list("pods"), space.list("embeddingmodels")])
    finally:
        redis.kill()
