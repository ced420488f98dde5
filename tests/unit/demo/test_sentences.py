"""The demo's request and its reading of the answer, against a small server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest

from cluster import Cluster
from demo import sentences

VECTORS = [[1.0, 0.0], [0.9, 0.1], [0.0, 2.0]]


class _Forwards:
    """A cluster whose port-forward leads to a server of ours."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def port_forward(self, target: str, port: int, *, namespace: str) -> Iterator[int]:
        assert (target, port, namespace) == ("service/minilm-embed", 8080, "demo")
        yield self._port


@contextmanager
def _server(status: int, answer: dict[str, Any]) -> Iterator[Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert asked == {"model": "minilm", "input": list(sentences.SENTENCES)}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield cast(Cluster, _Forwards(server.server_port))
        finally:
            server.shutdown()
            thread.join()


def test_the_two_nearest_are_found_in_any_order_of_the_answer() -> None:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(VECTORS)]
    with _server(200, {"data": data[::-1]}) as cluster:
        answer = sentences.ask(cluster, "demo", "minilm-embed", 8080, "minilm")
    assert answer.nearest == (0, 1)
    assert answer.dimensions == 2
    assert answer.similarity[0][2] == pytest.approx(0.0)
    assert answer.similarity[2][2] == pytest.approx(1.0)


def test_an_error_of_the_service_is_told_in_its_words() -> None:
    with _server(503, {"code": "NotReady"}) as cluster, pytest.raises(sentences.AnswerError, match=r"503.*NotReady"):
        sentences.ask(cluster, "demo", "minilm-embed", 8080, "minilm")
