"""Bad input: a clear error that names field and remedy, and nothing stored."""

import json
import socket
from typing import Any

import pytest

from integration.shard.shard_process import DIMENSIONS

from .world import Client, GatewayProcess, vectors

V: list[float] = vectors(1, seed=1)[0].tolist()
DEEP: dict[str, Any] = {"key": "a", "exists": True}
for _ in range(12):
    DEEP = {"must": [DEEP]}

SEARCHES: list[tuple[str, Any, int, str, str | None]] = [
    ("nothing to search for", {}, 400, "invalid_request", "query"),
    ("two ways at once", {"query": "a", "vector": V}, 400, "invalid_request", "query"),
    ("wrong dimension", {"vector": V[:-1]}, 400, "wrong_dimension", "vector"),
    ("empty vector", {"vector": []}, 400, "wrong_dimension", "vector"),
    ("zero vector", {"vector": [0.0] * DIMENSIONS}, 400, "zero_vector", "vector"),
    ("infinity in float32", {"vector": [1e300] * DIMENSIONS}, 400, "invalid_request", "vector"),
    ("null in a vector", {"vector": [None, *V[1:]]}, 400, "invalid_request", "vector[0]"),
    ("text in a vector", {"vector": [*V[:-1], "1"]}, 400, "invalid_request", f"vector[{DIMENSIONS - 1}]"),
    ("not base64", {"vector": "***"}, 400, "invalid_request", "vector"),
    ("NaN in base64", {"vector": "AADAfw==" * 1}, 400, "invalid_request", "vector"),
    ("text without a model", {"query": "a"}, 400, "no_model", "query"),
    ("blank query", {"query": "  "}, 400, "empty_text", "query"),
    ("a query that is a number", {"query": 5}, 400, "invalid_request", "query"),
    ("a query of 10 MB", {"query": "x" * 10_000_000}, 413, "text_too_long", "query"),
    ("k of a million", {"vector": V, "k": 1_000_000}, 400, "limit_exceeded", "k"),
    ("k of nought", {"vector": V, "k": 0}, 400, "invalid_request", "k"),
    ("k that is true", {"vector": V, "k": True}, 400, "invalid_request", "k"),
    ("unknown field", {"vector": V, "top_k": 5}, 400, "unknown_field", "top_k"),
    ("deep filter", {"vector": V, "filter": DEEP}, 400, "invalid_filter", None),
    ("a filter that is a list", {"vector": V, "filter": []}, 400, "invalid_filter", "filter"),
    ("unknown condition", {"vector": V, "filter": {"must": [{"key": "a", "near": 1}]}}, 400, "invalid_filter", None),
    ("unknown include", {"vector": V, "include": ["score"]}, 400, "invalid_request", "include"),
    ("unknown consistency", {"vector": V, "consistency": "some"}, 400, "invalid_request", "consistency"),
    ("no re-ranker", {"vector": V, "rerank": True}, 400, "rerank_unavailable", "rerank"),
    ("partial where it is not allowed", {"vector": V, "partial": True}, 400, "invalid_request", "partial"),
    ("keywords beside a vector", {"vector": V, "keywords": "a"}, 400, "invalid_request", "keywords"),
    ("hybrid without a vector", {"keywords": "a", "hybrid": True}, 400, "invalid_request", "hybrid"),
    ("another vector space", {"vector": V, "fingerprint": "other"}, 409, "fingerprint_mismatch", "fingerprint"),
    ("a list as a body", [1], 400, "invalid_json", None),
]  # fmt: skip
GOOD = {"id": "x", "vector": V}


def bad(**members: Any) -> dict[str, Any]:
    """A good document and a bad one."""
    return {"documents": [GOOD, {"id": "y", "vector": V} | members]}


ZEROS = [0] * DIMENSIONS
TWICE = [GOOD, {"id": "y", "vector": V}, GOOD]
MANY = [{"id": f"x{n}", "vector": V} for n in range(257)]
DOCUMENTS: list[tuple[str, Any, int, str, str | None]] = [
    ("no documents", {}, 400, "invalid_request", "documents"),
    ("empty list", {"documents": []}, 400, "invalid_request", "documents"),
    ("a document that is a text", {"documents": [GOOD, "a"]}, 400, "invalid_request", "documents[1]"),
    ("no id", {"documents": [GOOD, {"vector": V}]}, 400, "invalid_request", "documents[1].id"),
    ("empty id", bad(id=""), 400, "invalid_request", "documents[1].id"),
    ("long id", bad(id="ä" * 257), 400, "invalid_request", "documents[1].id"),
    ("duplicate ids", {"documents": TWICE}, 400, "duplicate_id", "documents[2]"),
    ("wrong dimension", bad(vector=[1.0]), 400, "wrong_dimension", "documents[1].vector"),
    ("zero vector", bad(vector=ZEROS), 400, "zero_vector", "documents[1].vector"),
    ("no vector", bad(vector=None, text="a"), 400, "vector_required", "documents[1].vector"),
    ("unknown field", bad(txt="a"), 400, "unknown_field", "documents[1].txt"),
    ("a text of 10 MB", bad(text="x" * 10_000_000), 413, "text_too_long", "documents[1].text"),
    ("large metadata", bad(metadata={"a": "x" * 70_000}), 413, "metadata_too_large", "documents[1].metadata"),
    ("metadata that is a list", bad(metadata=[]), 400, "invalid_request", "documents[1].metadata"),
    ("NUL in a text", bad(text="a\0b"), 400, "invalid_request", "documents[1].text"),
    ("a version that is none", bad(if_version="new"), 400, "invalid_request", "documents[1].if_version"),
    ("a past time to live", bad(ttl_seconds=-1), 400, "invalid_request", "documents[1].ttl_seconds"),
    ("another vector space", bad(fingerprint="f"), 409, "fingerprint_mismatch", "documents[1].fingerprint"),
    ("too many", {"documents": MANY}, 413, "batch_too_large", "documents"),
]


@pytest.mark.parametrize(("body", "status", "code", "field"), [one[1:] for one in SEARCHES], ids=[one[0] for one in SEARCHES])
def test_a_search_that_cannot_be_answered_says_why(
    client: Client, body: Any, status: int, code: str, field: str | None
) -> None:
    problem = client.post("/v1/search", body, status)
    assert problem["code"] == code
    assert problem["request_id"]
    if field is not None:
        assert problem["field"] == field


@pytest.mark.parametrize(("body", "status", "code", "field"), [one[1:] for one in DOCUMENTS], ids=[one[0] for one in DOCUMENTS])
def test_documents_that_cannot_be_stored_leave_nothing_behind(
    client: Client, body: Any, status: int, code: str, field: str | None
) -> None:
    problem = client.post("/v1/documents", body, status)
    assert (problem["code"], problem.get("field")) == (code, field)
    for id_ in ("x", "y", "x0"):
        client.get(f"/v1/documents/{id_}?consistency=strong", 404)


def test_duplicate_ids_are_named_by_both_places(client: Client) -> None:
    problem = client.post("/v1/documents/delete", {"ids": ["a", "b", "a"]}, 400)
    assert "ids[0] and ids[2]" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/documents/delete", {}, "invalid_request"),
        ("/v1/documents/delete", {"filter": {}}, "invalid_request"),
        ("/v1/documents/delete", {"ids": ["a"], "filter": {"must": []}}, "invalid_request"),
        ("/v1/documents/scroll", {"cursor": "nonsense"}, "invalid_cursor"),
        ("/v1/documents/scroll", {"cursor": "WyJhIiwiYiJd"}, "invalid_cursor"),
        ("/v1/documents/scroll", {"limit": 100_000}, "limit_exceeded"),
        ("/v1/facet", {}, "invalid_request"),
        ("/v1/count", {"where": 1}, "unknown_field"),
        ("/v1/search/batch", {"searches": []}, "invalid_request"),
        ("/v1/search/batch", {"searches": [{"vector": V}, {"vector": V, "k": -1}]}, "invalid_request"),
    ],
)
def test_other_requests_are_checked_too(client: Client, path: str, body: Any, code: str) -> None:
    assert client.post(path, body, 400)["code"] == code


@pytest.mark.parametrize(
    ("bad", "status", "field"),
    [
        ({"vector": [1.0]}, 400, "vector"),
        ({"include": ["score"]}, 400, "include"),
        ({"consistency": "some"}, 400, "consistency"),
        ({"partial": True}, 400, "partial"),
        ({"partial": "yes"}, 400, "partial"),
        ({"hybrid": 1.5}, 400, "hybrid"),
        ({"hybrid": True}, 400, "hybrid"),
        ({"keywords": "a"}, 400, "keywords"),
        ({"query": "a"}, 400, "query"),
        ({"vector": None}, 400, "query"),
        ({"k": 0}, 400, "k"),
        ({"filter": []}, 400, "filter"),
        ({"rerank": True}, 400, "rerank"),
        ({"fingerprint": "other"}, 409, "fingerprint"),
    ],
)
def test_a_fault_in_a_batch_is_named_by_its_path(client: Client, bad: dict[str, Any], status: int, field: str) -> None:
    problem = client.post("/v1/search/batch", {"searches": [{"vector": V}, {"vector": V} | bad]}, status)
    assert problem["field"] == f"searches[1].{field}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/search"),
        ("POST", "/v1/search/batch"),
        ("POST", "/v1/documents"),
        ("POST", "/v1/documents/bulk"),
        ("POST", "/v1/documents/delete"),
        ("POST", "/v1/documents/scroll"),
        ("POST", "/v1/documents/export"),
        ("POST", "/v1/count"),
        ("POST", "/v1/facet"),
        ("GET", "/v1/documents/some-id"),
        ("PATCH", "/v1/documents/some-id"),
        ("DELETE", "/v1/documents/some-id"),
    ],
)
def test_a_parameter_that_nobody_reads_is_named(client: Client, method: str, path: str) -> None:
    answer = client.http.request(method, f"{path}?k=5", content=b"{}" if method in ("POST", "PATCH") else None)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert (problem["code"], problem["field"]) == ("unknown_field", "k")
    assert "'k'" in problem["detail"]


@pytest.mark.parametrize("headers", [{"X-Timeout": "soon"}, {"X-Timeout": "-1"}, {"X-Index-Position": "x"}])
def test_a_header_that_cannot_be_read_is_named(client: Client, headers: dict[str, str]) -> None:
    answer = client.http.post("/v1/search", json={"vector": V}, headers=headers)
    assert answer.status_code == 400
    assert next(iter(headers)) in answer.json()["detail"]


def test_a_body_above_the_limit_is_refused(service: GatewayProcess, client: Client) -> None:
    body = b" " * (service.settings.max_body_bytes + 1)
    answer = client.http.post("/v1/search", content=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_another_method_or_path_is_told_what_there_is(client: Client) -> None:
    assert client.get("/v1/search", 405)["code"] == "method_not_allowed"
    assert client.get("/v1/nothing", 404)["code"] == "not_found"
    assert client.post("/v1/documents/some-id", {}, 405)["code"] == "method_not_allowed"


def test_a_client_that_hangs_in_its_body_holds_nobody_up(service: GatewayProcess, client: Client) -> None:
    body = json.dumps({"vector": V}).encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as hanging:
        hanging.sendall(b"POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body) + 1, body))
        for _ in range(20):
            client.post("/v1/search", {"vector": V})
