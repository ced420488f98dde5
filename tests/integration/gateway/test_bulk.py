"""Streams of documents: of any length, resumed, with faults in them, from clients of every kind."""

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .world import Client, GatewayProcess, documents, vectors

V = vectors(8, seed=5).tolist()


def lines(answer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.splitlines()]


def stream(made: list[Any]) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in made)


def bulk(client: Client, content: Any, query: str = "", **headers: str) -> list[dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.http.post(f"/v1/documents/bulk{query}", content=content, headers=named)
    assert answer.status_code == 200, answer.text
    return lines(answer.text)


@pytest.fixture
def run(client: Client) -> Iterator[str]:
    """Marks documents of this test; they are deleted at its end."""
    made = uuid.uuid4().hex[:8]
    yield made
    client.post("/v1/documents/delete", {"filter": {"must": [{"key": "run", "match": {"value": made}}]}})


def of(run: str, number: int) -> list[dict[str, Any]]:
    return [one | {"id": f"{run}-{one['id']}", "metadata": {"run": run}} for one in documents(number)]


def count(client: Client, run: str) -> int:
    body = {"filter": {"must": [{"key": "run", "match": {"value": run}}]}, "consistency": "strong"}
    found: int = client.post("/v1/count", body)["count"]
    return found


def test_every_line_is_stored_and_the_sums_say_so(client: Client, run: str) -> None:
    answers = bulk(client, stream(of(run, 1_000)))
    assert answers[-1] == {"done": True, "lines": 1_000, "accepted": 1_000, "failed": 0, "durable_line": 1_000}
    progress = [answer["durable_line"] for answer in answers]
    assert progress == sorted(progress)
    assert count(client, run) == 1_000


def test_a_line_that_is_another_under_a_used_key_is_told(client: Client, run: str) -> None:
    key, made = uuid.uuid4().hex, of(run, 300)
    bulk(client, stream(made), Idempotency_Key=key)
    made[150] = made[150] | {"text": "corrected"}
    answers = bulk(client, stream(made), Idempotency_Key=key)
    told = [(answer["line"], answer["error"]["code"]) for answer in answers if "error" in answer]
    assert told == [(151, "idempotency_key_reused")]
    assert (answers[-1]["accepted"], answers[-1]["failed"]) == (299, 1)


def test_faults_are_told_by_line_and_the_rest_is_stored(client: Client, run: str) -> None:
    good = of(run, 6)
    made = [
        good[0], "", "{not json", good[1], "   ", {"id": f"{run}-a", "vector": [1.0]}, good[2],
        {"id": "", "vector": V[0]}, {"id": f"{run}-b", "vector": V[0], "txt": 1}, "[]", good[3],
        {"id": f"{run}-c", "vector": V[0], "if_version": "9.9"}, good[4], good[5],
    ]  # fmt: skip
    answers = bulk(client, stream(made))
    faults = {answer["line"]: answer["error"]["code"] for answer in answers if "error" in answer}
    assert faults == {
        3: "invalid_json", 6: "wrong_dimension", 8: "invalid_request", 9: "unknown_field", 10: "invalid_json",
        12: "version_conflict",
    }  # fmt: skip
    assert answers[-1] == {"done": True, "lines": 14, "accepted": 6, "failed": 6, "durable_line": 14}
    assert count(client, run) == 6


def test_the_sums_are_the_last_line_also_where_a_block_ends(client: Client, run: str) -> None:
    answers = bulk(client, stream(of(run, 256)))
    assert answers[-1] == {"done": True, "lines": 256, "accepted": 256, "failed": 0, "durable_line": 256}


def test_a_last_line_needs_no_end_and_an_empty_stream_is_fine(client: Client, run: str) -> None:
    assert bulk(client, stream(of(run, 3)).rstrip("\n"))[-1]["accepted"] == 3
    assert bulk(client, "")[-1] == {"done": True, "lines": 0, "accepted": 0, "failed": 0, "durable_line": 0}
    assert bulk(client, "\n\n\n")[-1]["lines"] == 3


def test_of_an_id_that_comes_twice_the_last_line_counts(client: Client, run: str) -> None:
    for distance in (1, 3, 100, 300):
        made = of(run, distance + 1)
        first = made[0]
        made[distance] = first | {"text": f"second at {distance}"}
        again = [*made, first | {"text": f"third at {distance}"}]
        assert bulk(client, stream(again))[-1]["accepted"] == distance + 2
        assert client.get(f"/v1/documents/{first['id']}?consistency=strong")["text"] == f"third at {distance}"


def test_lines_may_delete(client: Client, run: str) -> None:
    made = of(run, 3)
    bulk(client, stream([*made, {"id": made[1]["id"], "delete": True}]))
    assert count(client, run) == 2


def test_all_results_are_told_where_that_is_asked(client: Client, run: str) -> None:
    answers = bulk(client, stream(of(run, 300)), "?results=all")
    told = [answer for answer in answers if "version" in answer]
    assert [answer["line"] for answer in told] == list(range(1, 301))


def test_a_stream_that_is_sent_again_is_stored_once(client: Client, run: str) -> None:
    made = of(run, 400)
    made[200] = made[199] | {"text": "twice in a block"}
    made[390] = made[5] | {"text": "twice in the stream"}
    key = uuid.uuid4().hex
    first = bulk(client, stream(made), "?results=all", Idempotency_Key=key)
    again = bulk(client, stream(made), "?results=all", Idempotency_Key=key)
    assert [one.get("version") for one in first if "line" in one] == [one.get("version") for one in again if "line" in one]


def test_a_stream_goes_on_from_the_line_that_is_durable(client: Client, run: str) -> None:
    made = of(run, 400)
    made[300] = made[290] | {"text": "the newer"}
    key = uuid.uuid4().hex
    first = bulk(client, stream(made[:256]), Idempotency_Key=key)
    durable = first[-1]["durable_line"]
    assert durable == 256
    answers = bulk(client, stream(made[durable:]), f"?from_line={durable + 1}&results=all", Idempotency_Key=key)
    assert answers[-1] == {"done": True, "lines": 400, "accepted": 144, "failed": 0, "durable_line": 400}
    assert [answer["line"] for answer in answers if "line" in answer] == list(range(257, 401))
    assert client.get(f"/v1/documents/{made[290]['id']}?consistency=strong")["text"] == "the newer"


@pytest.mark.parametrize("query", ["?from_line=0", "?from_line=5", "?from_line=x", "?results=some", "?other=1"])
def test_a_parameter_that_cannot_be_read_is_refused_at_once(client: Client, query: str) -> None:
    assert client.http.post(f"/v1/documents/bulk{query}", content="").status_code == 400


def test_a_line_that_never_ends_is_refused_and_not_kept(service: GatewayProcess, client: Client, run: str) -> None:
    good = of(run, 2)

    def content() -> Iterator[bytes]:
        yield stream(good[:1]).encode()
        for _ in range(80):
            yield b"x" * (1 << 20)
        yield b"\n" + stream(good[1:]).encode()

    before = service.metric("process_resident_memory_bytes")
    answers = bulk(client, content())
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == ["line_too_long"]
    assert answers[-1]["accepted"] == 2
    assert service.metric("process_resident_memory_bytes") - before < 60 * (1 << 20)


def test_a_client_that_reads_only_at_the_end_is_served(service: GatewayProcess, client: Client, run: str) -> None:
    """Most HTTP clients send the whole body before they read: the answers meanwhile must not hold the stream up."""
    made = stream(of(run, 1)).encode() + b"{}\n" * 5_000 + b"\n" * 2_000_000 + stream(of(run, 2)).encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.sendall(
            b"POST /v1/documents/bulk HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(made)
        )
        raw.sendall(made)
        answer = b""
        while part := raw.recv(65_536):
            answer += part
    assert b'"accepted":3,"failed":5000' in answer[-300:]


def test_a_client_that_leaves_in_the_middle_leaves_whole_documents(service: GatewayProcess, client: Client, run: str) -> None:
    made = stream(of(run, 200)).encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as raw:
        raw.sendall(b"POST /v1/documents/bulk HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + made[:-20])
        raw.recv(1)
    service.until(lambda: client.http.get("/stats").status_code == 200, "the gateway goes on")
    assert count(client, run) <= 200


def test_what_came_is_stored_while_the_client_pauses(service: GatewayProcess, client: Client, run: str) -> None:
    made = of(run, 3)
    sent = threading.Event()

    def content() -> Iterator[bytes]:
        yield stream(made[:2]).encode()
        assert sent.wait(30)
        yield stream(made[2:]).encode()

    answers: list[Any] = []
    with Client(service) as other:
        sending = threading.Thread(target=lambda: answers.extend(bulk(other, content())))
        sending.start()
        service.until(lambda: count(client, run) == 2, "the first lines are stored")
        sent.set()
        sending.join()
    assert answers[-1]["accepted"] == 3
