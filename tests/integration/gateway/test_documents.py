"""Documents through the real gateway and real shards: stored, read, changed, deleted."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .world import Client, documents, vectors

V = vectors(64, seed=99).tolist()


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """Begins ids that no other test has; what has them is deleted."""
    made = f"t{uuid.uuid4().hex[:8]}-"
    yield made
    page = client.post("/v1/documents/scroll", {"limit": 1000, "include": [], "consistency": "strong"})
    ids = [one["id"] for one in page["documents"] if one["id"].startswith(made)]
    for start in range(0, len(ids), 256):
        client.post("/v1/documents/delete", {"ids": ids[start : start + 256]})


def test_a_document_comes_back_as_it_was_sent(client: Client, name: str) -> None:
    metadata = {"lang": "de", "nested": {"a": [1, 2.5, None, True]}, "umlaut": "ä", "": 1}
    (result,) = client.put([{"id": f"{name}a/b c", "vector": V[0], "text": "Text ä", "metadata": metadata}])
    found = client.get(f"/v1/documents/{name}a%2Fb%20c?consistency=strong")
    assert found == {"id": f"{name}a/b c", "text": "Text ä", "metadata": metadata, "version": result["version"]}


def test_results_come_in_the_order_of_the_documents(client: Client, name: str) -> None:
    ids = [f"{name}{number}" for number in range(40)]
    results = client.put([{"id": id_, "vector": V[0]} for id_ in ids])
    assert [result["id"] for result in results] == ids


def test_a_write_is_found_at_once_by_a_strong_search(client: Client, name: str) -> None:
    for vector in V[:5]:
        client.put([{"id": f"{name}a", "vector": vector}])
        hits = client.post("/v1/search", {"vector": vector, "k": 1, "consistency": "strong"})["hits"]
        assert (hits[0]["id"], round(hits[0]["score"], 3)) == (f"{name}a", 1.0)


def test_a_deleted_document_is_gone(client: Client, name: str) -> None:
    client.put([{"id": f"{name}a", "vector": V[1]}])
    assert client.delete(f"/v1/documents/{name}a")["deleted"] is True
    assert client.delete(f"/v1/documents/{name}a")["deleted"] is False
    assert client.get(f"/v1/documents/{name}a?consistency=strong", 404)["code"] == "not_found"
    assert f"{name}a" not in client.ids({"vector": V[1], "k": 50, "consistency": "strong"})


def test_many_are_deleted_by_their_ids(client: Client, name: str) -> None:
    client.put([{"id": f"{name}{number}", "vector": V[number]} for number in range(5)])
    answer = client.post("/v1/documents/delete", {"ids": [f"{name}{number}" for number in range(4)] + [f"{name}none"]})
    assert [result["deleted"] for result in answer["results"]] == [True] * 4 + [False]
    assert client.get(f"/v1/documents/{name}4?consistency=strong")["id"] == f"{name}4"


def test_what_a_filter_matches_is_deleted_and_nothing_else(client: Client, name: str) -> None:
    client.put([{"id": f"{name}{n}", "vector": V[n], "metadata": {"run": name, "n": n}} for n in range(10)])
    of_run = {"key": "run", "match": {"value": name}}
    answer = client.post("/v1/documents/delete", {"filter": {"must": [of_run, {"key": "n", "range": {"lt": 4}}]}})
    assert answer["deleted"] == 4
    assert client.post("/v1/count", {"filter": {"must": [of_run]}, "consistency": "strong"})["count"] == 6


def test_a_patch_merges_metadata_and_keeps_the_rest(client: Client, name: str) -> None:
    client.put([{"id": f"{name}a", "vector": V[2], "text": "kept", "metadata": {"a": 1, "b": {"c": 1, "d": 2}}}])
    client.patch(f"/v1/documents/{name}a", {"metadata": {"a": None, "b": {"c": 5}}})
    found = client.get(f"/v1/documents/{name}a?consistency=strong")
    assert (found["text"], found["metadata"]) == ("kept", {"b": {"c": 5, "d": 2}})
    assert client.ids({"vector": V[2], "k": 1, "consistency": "strong"}) == [f"{name}a"]


def test_a_patch_of_nothing_is_told_so(client: Client, name: str) -> None:
    assert client.patch(f"/v1/documents/{name}none", {"metadata": {}}, 404)["code"] == "not_found"


def test_a_conditional_write_is_done_only_on_the_version_that_it_names(client: Client, name: str) -> None:
    first = client.put([{"id": f"{name}a", "vector": V[3], "if_version": "0"}])[0]["version"]
    (refused,) = client.post(
        "/v1/documents", {"documents": [{"id": f"{name}a", "vector": V[4], "if_version": "0"}]}
    )["results"]  # fmt: skip
    assert refused["error"]["code"] == "version_conflict"
    client.put([{"id": f"{name}a", "vector": V[4], "if_version": first}])
    assert client.delete(f"/v1/documents/{name}a?if_version={first}", 409)["code"] == "version_conflict"


def test_a_conflict_leaves_the_others_of_the_batch_alone(client: Client, name: str) -> None:
    ids = [f"{name}{number}" for number in range(8)]
    batch: list[dict[str, Any]] = [{"id": id_, "vector": V[0]} for id_ in ids]
    batch[3]["if_version"] = "7.7"
    results = client.post("/v1/documents", {"documents": batch})["results"]
    assert [index for index, result in enumerate(results) if "error" in result] == [3]


def test_a_document_is_gone_when_its_time_is_over(client: Client, name: str) -> None:
    client.put([{"id": f"{name}a", "vector": V[5], "ttl_seconds": 0.5}, {"id": f"{name}b", "vector": V[5], "ttl_seconds": 500}])
    assert "expires_at" in client.get(f"/v1/documents/{name}b?consistency=strong")
    deadline = time.monotonic() + 20
    while client.http.get(f"/v1/documents/{name}a").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.ids({"vector": V[5], "k": 1, "consistency": "strong"}) == [f"{name}b"]


def test_the_same_idempotency_key_writes_once(client: Client, name: str) -> None:
    body = {"documents": [{"id": f"{name}{number}", "vector": V[number]} for number in range(6)]}
    key = uuid.uuid4().hex
    first = client.post("/v1/documents", body, Idempotency_Key=key)["results"]
    assert client.post("/v1/documents", body, Idempotency_Key=key)["results"] == first
    client.put([{"id": f"{name}0", "vector": V[9], "text": "newer"}])
    client.post("/v1/documents", body, Idempotency_Key=key)
    assert client.get(f"/v1/documents/{name}0?consistency=strong")["text"] == "newer"


def test_a_read_that_brings_the_position_of_a_write_sees_it(client: Client, name: str) -> None:
    for number in range(5):
        answer = client.http.post("/v1/documents", json={"documents": [{"id": f"{name}a", "vector": V[number]}]})
        token = answer.headers["x-index-position"]
        assert token == answer.json()["position"]
        assert client.get(f"/v1/documents/{name}a", X_Index_Position=token)["version"] == answer.json()["results"][0]["version"]


def test_scrolling_shows_every_document_once_in_the_order_of_ids(client: Client, name: str) -> None:
    ids = sorted(f"{name}{number:03}ü" for number in range(25))
    client.put([{"id": id_, "vector": V[0], "metadata": {"run": name}} for id_ in reversed(ids)])
    filter_ = {"must": [{"key": "run", "match": {"value": name}}]}
    seen: list[str] = []
    cursor = None
    while True:
        body = {"filter": filter_, "limit": 4, "include": [], "consistency": "strong"} | ({"cursor": cursor} if cursor else {})
        page = client.post("/v1/documents/scroll", body)
        seen += [one["id"] for one in page["documents"]]
        cursor = page["cursor"]
        if cursor is None:
            break
        client.put([{"id": ids[0], "vector": V[1], "metadata": {"run": name}}])  # a change does not disturb the order
    assert seen == ids


def test_an_export_has_every_document_with_its_vector(client: Client, name: str) -> None:
    made = [one | {"id": name + one["id"], "metadata": {"run": name}} for one in documents(700)]
    for start in range(0, 700, 200):
        client.put(made[start : start + 200])
    body = {"filter": {"must": [{"key": "run", "match": {"value": name}}]}, "include": ["text", "vector"]}
    answer = client.http.post("/v1/documents/export", json=body)
    lines = [line for line in answer.text.splitlines() if line]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(lines) == 700
    again = client.http.post("/v1/documents/bulk", content=answer.text.replace('"version"', '"if_version"'))
    assert '"accepted":700' in again.text.splitlines()[-1], again.text[-500:]


def test_counts_and_facets_are_summed_over_shards(client: Client, name: str) -> None:
    client.put(
        [
            {"id": f"{name}{n}", "vector": V[n], "metadata": {"run": name, "kind": "other" if n % 3 else "third"}}
            for n in range(30)
        ]
    )
    filter_ = {"must": [{"key": "run", "match": {"value": name}}]}
    assert client.post("/v1/count", {"filter": filter_, "consistency": "strong"}) == {"count": 30}
    facet = client.post("/v1/facet", {"field": "kind", "filter": filter_, "consistency": "strong"})
    assert facet["values"] == [{"value": "other", "count": 20}, {"value": "third", "count": 10}]
