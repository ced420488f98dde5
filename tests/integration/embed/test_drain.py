"""A server that is told to stop, under load: clients move to another one and none of them notices."""

import json
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from .server import EmbedServer, Prepared, serving, started, wait_until

FORGET_SECONDS = 0.3
"""How late the clients' view of which servers are ready is, as that of a Service's endpoints."""


class Endpoints:
    """Stands for a Service: asks the servers for readiness and hands out one that was ready a moment ago."""

    def __init__(self, servers: list[EmbedServer]) -> None:
        self._servers = servers
        self._ready = list(servers)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._turn = 0

    def __enter__(self) -> "Endpoints":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def pick(self) -> EmbedServer:
        self._turn += 1
        return self._ready[self._turn % len(self._ready)]

    def _watch(self) -> None:
        while not self._stop.wait(FORGET_SECONDS):
            self._ready = [server for server in self._servers if server.process.poll() is None and server.ready()]


class Clients:
    """Some keep their connection until they are told to close it, some open a new one for each request."""

    def __init__(self, endpoints: Endpoints, count: int = 6) -> None:
        self._endpoints = endpoints
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(index % 2 == 0,)) for index in range(count)]
        self.answered = 0
        self.cut: list[str] = []

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, keep: bool) -> None:
        number = 0
        while not self._stop.is_set():
            with httpx.Client(base_url=self._endpoints.pick().url, timeout=30) as client:
                moved = False
                while not moved and not self._stop.is_set():
                    number += 1
                    moved = self._ask(client, number) or not keep

    def _ask(self, client: httpx.Client, number: int) -> bool:
        """Whether to take another connection."""
        try:
            answer = client.post("/v1/embeddings", json={"input": [f"{'word ' * 100}{number}"] * 3})
        except httpx.TransportError as error:
            self.cut.append(f"{type(error).__name__}: {error}")
            return True
        if answer.status_code != 200:
            self.cut.append(answer.text)
        self.answered += 1
        return bool(answer.headers.get("connection") == "close")


def stop_one_of_two_under_load(minilm: Prepared, work: Path, **settings: object) -> Clients:
    for name in ("one", "two"):
        (work / name).mkdir()
    with (
        serving(minilm, work / "one", **settings) as stopping,
        serving(minilm, work / "two") as staying,
        Endpoints([stopping, staying]) as endpoints,
        Clients(endpoints) as clients,
    ):
        wait_until(lambda: clients.answered > 20)
        stopping.terminate()
        code, report = stopping.ended()
        assert (code, report) == (0, None)
        answered = clients.answered
        wait_until(lambda: clients.answered > answered + 10)
    return clients


def test_no_request_is_cut_when_a_server_under_load_is_told_to_stop(minilm: Prepared, tmp_path: Path) -> None:
    assert stop_one_of_two_under_load(minilm, tmp_path, drain_seconds=2.0).cut == []


def test_the_same_load_notices_a_server_that_does_not_drain(minilm: Prepared, tmp_path: Path) -> None:
    """Proves the test above: without the drain it would fail."""
    assert stop_one_of_two_under_load(minilm, tmp_path, drain_seconds=0.0).cut != []


def test_readiness_turns_false_at_once_while_requests_are_still_taken(minilm: Prepared, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, drain_seconds=3.0) as server, httpx.Client(base_url=server.url) as kept:
        assert "connection" not in kept.post("/embed", json={"text": "before"}).headers
        server.terminate()
        wait_until(lambda: not server.ready())
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "draining"}
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert httpx.post(f"{server.url}/embed", json={"text": "new connection"}).status_code == 200
        answer = kept.post("/embed", json={"text": "kept connection"})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert server.ended()[0] == 0


def test_a_long_request_is_finished_after_the_drain(minilm: Prepared, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, workers=1, max_queued_tokens=10**6) as server:
        answers: list[httpx.Response] = []
        body = {"texts": [f"{'word ' * 250}{n}" for n in range(60)]}
        asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{server.url}/embed/batch", json=body, timeout=60)))
        asking.start()
        wait_until(lambda: server.metric("embedding_queue_size") > 0)
        server.terminate()
        asking.join()
        assert [answer.status_code for answer in answers] == [200]
        assert len(answers[0].json()["embeddings"]) == 60
        assert server.ended()[0] == 0


def test_a_request_whose_headers_were_on_the_way_is_served(minilm: Prepared, tmp_path: Path) -> None:
    body = json.dumps({"text": "hello"}).encode()
    with serving(minilm, tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"POST /embed HTTP/1.1\r\nhost: x\r\n")
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        server.terminate()
        wait_until(lambda: '"Shutting down"' in server.log())
        raw.sendall(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        assert raw.recv(4_096).startswith(b"HTTP/1.1 200")
        assert server.ended()[0] == 0


def test_a_client_that_never_finishes_does_not_hold_the_server_up(minilm: Prepared, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, shutdown_seconds=1.0) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        server.terminate()
        assert server.ended()[0] == 0


@pytest.mark.parametrize("moment", ["at once", "listening"])
def test_a_stop_during_the_start_is_obeyed(minilm: Prepared, tmp_path: Path, moment: str) -> None:
    with started(minilm, tmp_path) as server:
        if moment == "listening":
            assert server.port
        else:
            time.sleep(0.01)
        server.terminate()
        code = server.process.wait(30)
        assert code in ((0,) if moment == "listening" else (0, -15))
