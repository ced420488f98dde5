"""From `kubectl apply` to vectors of the real model, and the ways a model changes while it serves."""

import json
import urllib.request

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
