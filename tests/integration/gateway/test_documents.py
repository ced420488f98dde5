"""Documents through the real gateway and real shards: stored, read, changed, deleted."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.shard.shard_process import Operator

from .world import Client, GatewayProcess, documents, gateway, vectors

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


def test_documents_too_large_to_come_with_a_search_are_answered_whole(client: Client, name: str) -> None:
    texts = {f"{name}{number}": f"{number} " * 4_000 for number in range(10)}
    client.put([{"id": id_, "vector": V[6], "text": text} for id_, text in texts.items()])
    hits = client.post("/v1/search", {"vector": V[6], "k": 10, "consistency": "strong"})["hits"]
    assert {hit["id"]: hit["text"] for hit in hits} == texts


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


def test_another_write_under_a_used_key_is_refused(client: Client, name: str) -> None:
    first: dict[str, Any] = {
        "id": f"{name}a",
        "vector": V[0],
        "text": "first",
        "metadata": {"a": 1, "b": 2},
        "ttl_seconds": 500,
    }
    key = uuid.uuid4().hex
    (stored,) = client.put([first], Idempotency_Key=key)
    others: list[dict[str, Any]] = [
        {"text": "other"},
        {"vector": V[1]},
        {"metadata": {"a": 1}},
        {"metadata": None},
        {"ttl_seconds": 501},
        {"if_version": "0"},
    ]
    for other in others:
        problem = client.post("/v1/documents", {"documents": [first | other]}, 409, Idempotency_Key=key)
        assert problem["code"] == "idempotency_key_reused"
    assert client.get(f"/v1/documents/{name}a?consistency=strong")["version"] == stored["version"]
    same = {"metadata": {"b": 2, "a": 1}, **{member: value for member, value in first.items() if member != "metadata"}}
    assert client.put([same], Idempotency_Key=key) == [stored]


def test_another_gateway_knows_the_key_too(
    client: Client, service: GatewayProcess, operator: Operator, tmp_path: Path, name: str
) -> None:
    body, key = {"documents": [{"id": f"{name}a", "vector": V[0]}]}, uuid.uuid4().hex
    first = client.post("/v1/documents", body, Idempotency_Key=key)["results"]
    other = gateway(tmp_path, operator, route_dir=service.settings.route_dir)
    other.start()
    try:
        with Client(other.await_ready()) as second:
            assert second.post("/v1/documents", body, Idempotency_Key=key)["results"] == first
            changed = {"documents": [{"id": f"{name}a", "vector": V[1]}]}
            problem = second.post("/v1/documents", changed, 409, Idempotency_Key=key)
            assert problem["code"] == "idempotency_key_reused"
    finally:
        other.kill()


def test_of_a_batch_under_a_used_key_what_differs_is_refused_and_the_rest_is_done(client: Client, name: str) -> None:
    made = [{"id": f"{name}{number}", "vector": V[number]} for number in range(6)]
    key = uuid.uuid4().hex
    first = client.put(made, Idempotency_Key=key)
    changed = [*made[:2], made[2] | {"text": "other"}, *made[3:], {"id": f"{name}new", "vector": V[7]}]
    results = client.post("/v1/documents", {"documents": changed}, Idempotency_Key=key)["results"]
    assert results[2]["error"]["code"] == "idempotency_key_reused"
    assert [*results[:2], *results[3:6]] == [*first[:2], *first[3:]]
    assert client.get(f"/v1/documents/{name}new?consistency=strong")["version"] == results[6]["version"]


def test_patches_and_deletes_under_a_used_key_are_compared_too(client: Client, name: str) -> None:
    client.put([{"id": f"{name}{number}", "vector": V[0], "metadata": {"run": name}} for number in range(4)])
    path, key = f"/v1/documents/{name}0", uuid.uuid4().hex
    patched = client.patch(path, {"metadata": {"a": 1}}, Idempotency_Key=key)
    assert client.patch(path, {"metadata": {"a": 1}}, Idempotency_Key=key)["version"] == patched["version"]
    problem = client.patch(path, {"metadata": {"a": 2}}, 409, Idempotency_Key=key)
    assert problem["code"] == "idempotency_key_reused"

    def matching(number: int) -> dict[str, Any]:
        return {"filter": {"must": [{"key": "run", "match": {"value": name}}, {"has_id": [f"{name}{number}"]}]}}

    assert client.post("/v1/documents/delete", matching(1), Idempotency_Key=key)["deleted"] == 1
    assert client.post("/v1/documents/delete", matching(1), Idempotency_Key=key)["deleted"] == 1
    problem = client.post("/v1/documents/delete", matching(2), 409, Idempotency_Key=key)
    assert problem["code"] == "idempotency_key_reused"
    assert client.get(f"/v1/documents/{name}2?consistency=strong")["id"] == f"{name}2"


def test_a_patch_takes_an_expiry_away_or_keeps_it(client: Client, name: str) -> None:
    path = f"/v1/documents/{name}a"
    client.put([{"id": f"{name}a", "vector": V[0], "ttl_seconds": 500}])
    client.patch(path, {"metadata": {"n": 1}})
    assert "expires_at" in client.get(f"{path}?consistency=strong")
    client.patch(path, {"ttl_seconds": None})
    assert client.get(f"{path}?consistency=strong")["metadata"] == {"n": 1}
    assert "expires_at" not in client.get(f"{path}?consistency=strong")
    client.patch(path, {"ttl_seconds": 500})
    assert "expires_at" in client.get(f"{path}?consistency=strong")


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


def test_an_export_is_stored_again_as_it_is(client: Client, name: str) -> None:
    made = [
        {"id": f"{name}a", "vector": V[0], "text": "a", "metadata": {"run": name, "nested": {"n": [1, None]}}},
        {"id": f"{name}b", "vector": V[1], "metadata": {"run": name}, "ttl_seconds": 500},
    ]
    client.put(made)
    body = {"filter": {"must": [{"key": "run", "match": {"value": name}}]}, "include": ["text", "metadata", "vector"]}

    def exported() -> list[dict[str, Any]]:
        text = client.http.post("/v1/documents/export", json=body).text
        return [json.loads(line) for line in text.splitlines()]

    before = client.http.post("/v1/documents/export", json=body).text
    documents_before = exported()
    client.post("/v1/documents/delete", {"filter": body["filter"]})
    assert exported() == []
    last = client.http.post("/v1/documents/bulk", content=before).text.splitlines()[-1]
    assert json.loads(last) == {"done": True, "lines": 2, "accepted": 2, "failed": 0, "durable_line": 2}

    def without_version(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{member: value for member, value in one.items() if member != "version"} for one in documents]

    assert without_version(exported()) == without_version(documents_before)
    page = client.post("/v1/documents/scroll", body | {"consistency": "strong"})["documents"]
    lines = "".join(json.dumps(one) + "\n" for one in page)
    assert '"accepted":2' in client.http.post("/v1/documents/bulk", content=lines).text
    for member, value in (("expires_at", "soon"), ("expires_at", 5), ("expires_at", "2027-01-01"), ("expired", 1)):
        answer = client.http.post("/v1/documents/bulk", content=json.dumps(page[0] | {member: value})).text
        assert json.loads(answer.splitlines()[0])["error"]["field"] == member


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
