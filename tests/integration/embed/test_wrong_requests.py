"""What people and programs send by mistake, or on purpose: each gets a clear answer and the server goes on."""

import json
import socket
from pathlib import Path

import httpx
import pytest

from .server import EmbedServer, Prepared, serving, wait_until

JSON = {"content-type": "application/json"}
OPENAI = "/v1/embeddings"


def post(server: EmbedServer, path: str, body: bytes | dict[str, object], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return httpx.post(server.url + path, content=content, headers={**JSON, **headers}, timeout=30)


BAD_BODIES = [
    (OPENAI, b"", 400, "invalid_json", None),
    (OPENAI, b"{", 400, "invalid_json", None),
    (OPENAI, b'"text"', 400, "invalid_json", None),
    (OPENAI, b'{"input": NaN}', 400, "invalid_json", None),
    (OPENAI, b'{"input": "\xff\xfe"}', 400, "invalid_json", None),
    (OPENAI, b'{"input": "\\ud800"}', 400, "invalid_json", None),
    (OPENAI, b"[" * 100_000, 400, "invalid_json", None),
    (OPENAI, b"{}", 400, "invalid_request", "input"),
    (OPENAI, b'{"input": null}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": 7}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": {"a": 1}}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": []}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": ""}', 400, "empty_text", "input"),
    (OPENAI, b'{"input": ["a", ""]}', 400, "empty_text", "input[1]"),
    (OPENAI, b'{"input": ["a", 7]}', 400, "invalid_request", "input[1]"),
    (OPENAI, b'{"input": [1.5]}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": [true]}', 400, "invalid_request", "input"),
    (OPENAI, b'{"input": [[1], []]}', 400, "empty_text", "input[1]"),
    (OPENAI, b'{"input": [[1], "a"]}', 400, "invalid_request", "input[1]"),
    (OPENAI, b'{"input": [[1], [30522]]}', 400, "unknown_token", "input[1]"),
    (OPENAI, b'{"input": "a", "encoding_format": "hex"}', 400, "invalid_request", "encoding_format"),
    (OPENAI, b'{"input": "a", "encoding_format": ["float"]}', 400, "invalid_request", "encoding_format"),
    (OPENAI, b'{"input": "a", "dimensions": 12}', 400, "invalid_request", "dimensions"),
    (OPENAI, b'{"input": "a", "dimensions": "384"}', 400, "invalid_request", "dimensions"),
    (OPENAI, b'{"input": "a", "input_type": "poem"}', 400, "invalid_request", "input_type"),
    (OPENAI, b'{"input": "a", "input_type": 1}', 400, "invalid_request", "input_type"),
    (OPENAI, b'{"input": "a", "truncate": "yes"}', 400, "invalid_request", "truncate"),
    (OPENAI, b'{"input": "a", "model": 1}', 400, "invalid_request", "model"),
    (OPENAI, b'{"input": "a", "model": "gpt"}', 404, "model_not_found", "model"),
    ("/embed", b"{}", 400, "invalid_request", "inputs"),
    ("/embed", b'{"text": ["a"]}', 400, "invalid_request", "text"),
    ("/embed", b'{"inputs": "a", "normalize": false}', 400, "invalid_request", "normalize"),
    ("/embed", b'{"inputs": "a", "truncation_direction": "up"}', 400, "invalid_request", "truncation_direction"),
    ("/embed/batch", b'{"texts": "a"}', 400, "invalid_request", "texts"),
    ("/embed/batch", b'{"texts": []}', 400, "invalid_request", "texts"),
    ("/similarity", b'{"inputs": "a"}', 400, "invalid_request", "inputs"),
    ("/rerank", b'{"query": "a", "texts": ["b"]}', 400, "wrong_task", None),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "field"), BAD_BODIES)
def test_a_bad_body_is_told_what_is_wrong(
    server: EmbedServer, path: str, body: bytes, status: int, code: str, field: str | None
) -> None:
    answer = post(server, path, body, **{"x-request-id": "my-id"})
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"], problem.get("field")) == (status, status, code, field)
    assert problem["detail"]
    assert problem["title"]
    assert problem["request_id"] == answer.headers["x-request-id"] == "my-id"
    assert problem["error"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_told_which_one(server: EmbedServer, method: str) -> None:
    answer = httpx.request(method, server.url + OPENAI)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_an_unknown_path_is_told_where_to_look(server: EmbedServer) -> None:
    answer = post(server, "/v1/embedding", {"input": "a"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "/openapi.json" in answer.json()["detail"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129])
def test_a_request_id_that_is_none_is_replaced(server: EmbedServer, given: str) -> None:
    made = post(server, OPENAI, {"input": "a"}, **{"x-request-id": given}).headers["x-request-id"]
    assert made
    assert made != given


def test_a_text_of_blanks_is_a_text(server: EmbedServer) -> None:
    assert post(server, OPENAI, {"input": " \n"}).status_code == 200


@pytest.fixture(scope="module")
def small(minilm: Prepared, tmp_path_factory: pytest.TempPathFactory) -> object:
    limits = {"max_body_bytes": 40_000, "max_texts": 4, "max_text_bytes": 8_000, "max_queued_tokens": 300}
    with serving(minilm, tmp_path_factory.mktemp("small"), **limits) as running:
        yield running


LIMITED = [
    ({"input": ["a"] * 5}, "too_many_texts", "input", "a request may have 4"),
    ({"input": ["a", "é" * 4_001]}, "text_too_long", "input[1]", "has 8002 bytes, a text may have 8000"),
    ({"input": [[1] * 8_001]}, "text_too_long", "input[0]", "has 8001 token ids"),
    (
        {"input": [f"{n} " + "word " * 300 for n in range(4)]},
        "larger_than_queue",
        "input",
        "has 1024 tokens, the queue holds 300",
    ),
    ({"input": "x" * 50_000}, "body_too_large", None, "larger than 40000 bytes"),
]


@pytest.mark.parametrize(("body", "code", "field", "said"), LIMITED)
def test_what_is_too_large_is_refused_for_good(
    small: EmbedServer, body: dict[str, object], code: str, field: str | None, said: str
) -> None:
    answer = post(small, OPENAI, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("field")) == (413, code, field)
    assert said in problem["detail"]
    assert "retry-after" not in answer.headers


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(small: EmbedServer) -> None:
    def endless() -> object:
        yield b'{"input": "'
        for _ in range(60):
            yield b"x" * 1_000
        yield b'"}'

    answer = httpx.post(small.url + OPENAI, content=endless(), headers=JSON)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


def test_a_client_that_asks_before_it_sends_is_spared_the_sending(small: EmbedServer) -> None:
    with socket.create_connection(("127.0.0.1", small.port)) as raw:
        raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 999999\r\n\r\n")
        raw.settimeout(20)
        assert raw.recv(4_096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"])
def test_what_is_no_http_is_answered_and_closed(server: EmbedServer, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(garbage)
        raw.settimeout(20)
        assert raw.recv(4_096).startswith(b"HTTP/1.1 400")


def test_endless_headers_end_the_connection(server: EmbedServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(20)
        with pytest.raises((ConnectionError, BrokenPipeError)):  # noqa: PT012 - which send meets the reset is a race
            raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\n")
            for number in range(100_000):
                raw.sendall(b"x-%d: %s\r\n" % (number, b"y" * 100))


def test_a_client_that_hangs_up_takes_its_waiting_texts_along(minilm: Prepared, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, workers=1, max_queued_tokens=10**6) as server:
        body = json.dumps({"input": [f"{'word ' * 250}{n}" for n in range(500)]}).encode()
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(head + body)
            wait_until(lambda: server.metric("embedding_queue_size") > 100, server.log)
            assert server.metric("embedding_in_flight_requests") >= 1
        wait_until(lambda: server.metric("embedding_queue_size") == 0, server.log)
        wait_until(lambda: server.metric("embedding_in_flight_requests") == 0, server.log)
        assert server.metric("embedding_batch_size_sum") < 100
        assert post(server, OPENAI, {"input": "still here"}).status_code == 200


def test_no_request_of_this_file_was_a_bug_of_ours(server: EmbedServer, small: EmbedServer) -> None:
    for tried in (server, small):
        assert "Traceback" not in tried.log()
        assert '"internal"' not in tried.log()
