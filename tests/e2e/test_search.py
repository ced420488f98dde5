"""From `kubectl apply` to answers: an index, its endpoint, and what a team does with both."""

import base64
import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cluster import Capability, Cluster
from fixtures.space import Space

DIMENSIONS = 4
VECTORS = {"north": [1.0, 0.0, 0.0, 0.0], "south": [0.0, 1.0, 0.0, 0.0], "west": [0.7, 0.7, 0.0, 0.1]}


@contextlib.contextmanager
def client(space: Space, service: str, key: str | None = None) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with (
        space.cluster.port_forward(f"service/{service}-search", 8080, namespace=space.name) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http,
    ):
        yield http


def post(http: httpx.Client, path: str, body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(http: httpx.Client, **search: Any) -> list[str]:
    return [hit["id"] for hit in post(http, "/v1/search", {"consistency": "strong", **search})["hits"]]


def vectors(names: dict[str, list[float]] = VECTORS) -> list[dict[str, Any]]:
    return [{"id": name, "vector": vector, "metadata": {"name": name}} for name, vector in names.items()]


def ready(space: Space, index: str = "docs", service: str | None = "docs") -> None:
    space.wait_up_to_date(index, kind="vectorindex")
    if service:
        space.wait_up_to_date(service, kind="searchservice")


def test_documents_in_answers_out(space: Space, minilm_source: dict[str, object]) -> None:
    """Three manifests at once, in any order; then texts are found by meaning, words and filter."""
    space.apply_search("docs", "docs", replicas=1)
    space.apply_index("docs", modelRef={"name": "minilm"}, shards=2, fields=[{"name": "topic", "type": "Keyword"}])
    space.wait_condition("docs", "Ready", "False", "ModelNotReady", kind="vectorindex")
    space.apply_model("minilm", model={"source": minilm_source})
    ready(space)
    documents = [
        {"id": "cat", "text": "A cat sleeps on the warm stones.", "metadata": {"topic": "animals"}},
        {"id": "dog", "text": "The dog barks at the postman.", "metadata": {"topic": "animals"}},
        {"id": "bank", "text": "The central bank raised its interest rate.", "metadata": {"topic": "money"}},
        {"id": "rain", "text": "Heavy rain is expected along the coast.", "metadata": {"topic": "weather"}},
    ]
    with client(space, "docs") as http:
        post(http, "/v1/documents", {"documents": documents})
        assert ids(http, query="a kitten naps", k=1) == ["cat"]
        assert ids(http, keywords="postman", k=4) == ["dog"]
        only = {"must": [{"key": "topic", "match": {"value": "money"}}]}
        assert ids(http, query="a kitten naps", k=4, filter=only) == ["bank"]
        http.delete("/v1/documents/cat").raise_for_status()
        assert "cat" not in ids(http, query="a kitten naps", k=4)
    status = space.wait_for("three documents in status", lambda: _with_documents(space, 3), 60)
    assert {shard["name"] for shard in status["shards"]} == {"docs-g1-s0", "docs-g1-s1"}
    shown = space.kubectl("get", "embedding")
    assert "http://docs-search" in shown
    assert space.status("minilm")["revisions"][0]["usedBy"] == ["VectorIndex/docs"]


def _with_documents(space: Space, number: int) -> dict[str, Any] | None:
    status = space.status("docs", "vectorindex")
    return status if status.get("documents") == number else None


def test_an_index_changes_in_place_while_it_serves(space: Space) -> None:
    space.apply_index("docs", dimensions=DIMENSIONS)
    space.apply_search("docs", "docs", replicas=1)
    ready(space)
    with client(space, "docs") as http:
        post(http, "/v1/documents", {"documents": vectors()})
        changed: dict[str, Any] = {"index": {"type": "HNSW"}, "fields": [{"name": "name", "type": "Keyword"}]}
        space.apply_index("docs", dimensions=DIMENSIONS, replicas=2, **changed)
        space.wait_for("two copies", lambda: _copies(space) == 2, 120)
        ready(space, service=None)
        assert ids(http, vector=VECTORS["north"], k=2) == ["north", "west"]
        assert ids(http, vector=VECTORS["north"], k=2, filter={"must": [{"key": "name", "match": {"value": "south"}}]}) == [
            "south"
        ]
        space.apply_index("docs", dimensions=DIMENSIONS, replicas=1, **changed)
        space.wait_for("one copy", lambda: _copies(space) == 1, 120)
        assert ids(http, vector=VECTORS["south"], k=1) == ["south"]
    refused = space.kubectl(
        "patch", "vectorindex", "docs", "--type=merge", "-p", json.dumps({"spec": {"dimensions": 8}}), check=False
    )
    assert "dimensions" not in refused or "immutable" in refused


def _copies(space: Space) -> int:
    shards = space.status("docs", "vectorindex").get("shards", [])
    return int(shards[0].get("readyReplicas", 0)) if shards else 0


def test_a_deleted_index_leaves_its_data_and_a_new_one_of_the_name_takes_it_up(space: Space) -> None:
    space.apply_index("docs", dimensions=DIMENSIONS)
    space.apply_search("docs", "docs", replicas=1)
    ready(space)
    with client(space, "docs") as http:
        post(http, "/v1/documents", {"documents": vectors()})
    space.delete("vectorindex", "docs", wait=True)
    space.wait_for("no pods of the shard", lambda: not space.list("pods", "embedding-operator.io/vectorindex=docs"), 90)
    assert len(space.list("pvc", "embedding-operator.io/vectorindex=docs")) == 1
    space.apply_index("docs", dimensions=DIMENSIONS)
    ready(space)
    with client(space, "docs") as http:
        assert ids(http, vector=VECTORS["west"], k=1) == ["west"]


def test_with_the_policy_delete_volumes_go_with_the_index(space: Space) -> None:
    space.apply_index("docs", dimensions=DIMENSIONS, storage={"size": "1Gi", "reclaimPolicy": "Delete"})
    ready(space, service=None)
    space.delete("vectorindex", "docs", wait=True)
    space.wait_for("no volumes", lambda: not space.list("pvc", "embedding-operator.io/vectorindex=docs"), 120)
    space.wait_for("no route", lambda: space.get("configmap", "docs-route") is None, 30)


def test_a_volume_that_no_copy_is_left_of_is_not_taken_for_an_empty_index(space: Space) -> None:
    space.apply_index("docs", dimensions=DIMENSIONS)
    space.apply_search("docs", "docs", replicas=1)
    ready(space)
    with client(space, "docs") as http:
        post(http, "/v1/documents", {"documents": vectors()})
        space.kubectl("delete", "pvc", "data-docs-g1-s0-0", "--wait=false")
        space.kubectl("delete", "pod", "docs-g1-s0-0", "--wait=true")
        found = space.wait_condition("docs", "Writable", "False", "WriterDown", kind="vectorindex", seconds=120)
        space.wait_for(
            "what to do", lambda: "accept-data-loss" in space.condition("docs", "Writable", "vectorindex")["message"], 60
        )
        assert found["status"] == "False"
        assert http.post("/v1/documents", json={"documents": vectors()}).status_code in (503, 504)
        space.kubectl("annotate", "vectorindex", "docs", "embedding-operator.io/accept-data-loss=1")
        ready(space)
        space.wait_condition("docs", "Writable", "True", kind="vectorindex")
        post(http, "/v1/documents", {"documents": vectors()})
        assert ids(http, vector=VECTORS["north"], k=1) == ["north"]


def test_keys_decide_who_may_do_what(space: Space) -> None:
    space.apply_index("docs", dimensions=DIMENSIONS)
    space.apply_search("docs", "docs", replicas=1, apiKeysSecretRef={"name": "keys"})
    space.wait_condition("docs", "Ready", "False", "APIKeysMissing", kind="searchservice")
    reader, writer = _key("reader", "Read"), _key("writer", "Write")
    entries = {reader["id"]: reader["entry"], writer["id"]: writer["entry"]}
    space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": entries})
    ready(space)
    with client(space, "docs", writer["key"]) as http:
        space.wait_for("the keys on the pod", lambda: http.post("/v1/count", json={}).status_code == 200, 120)
        post(http, "/v1/documents", {"documents": vectors()})
    with client(space, "docs", reader["key"]) as http:
        assert ids(http, vector=VECTORS["north"], k=1) == ["north"]
        answer = http.post("/v1/documents", json={"documents": vectors()})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    with client(space, "docs") as http:
        assert http.post("/v1/search", json={"vector": VECTORS["north"]}).status_code == 401


def _key(name: str, role: str) -> dict[str, str]:
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    key = f"eo_{name}_{secret}"
    return {"id": name, "key": key, "entry": json.dumps({"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role})}


def test_a_shard_obeys_nobody_without_the_operators_token(space: Space, cluster: Cluster) -> None:
    if Capability.POD_NETWORK not in cluster.capabilities:
        pytest.skip("pods can't be reached from the tests on this cluster")
    space.apply_index("docs", dimensions=DIMENSIONS)
    ready(space, service=None)
    pod = space.get("pod", "docs-g1-s0-0") or {}
    url = f"http://{pod['status']['podIP']}:8081/v1"
    before = httpx.get(f"{url}/info").json()
    message = {"epoch": 99, "history": before["history"], "deadline_seconds": 600}
    for headers in ({}, {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}):
        assert httpx.post(f"{url}/admin/fence", json=message, headers=headers).status_code == 401
    after = httpx.get(f"{url}/info").json()
    assert (after["mode"], after["epoch"]) == (before["mode"], before["epoch"]) == ("Open", 1)
