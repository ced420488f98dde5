"""The whole data plane in one process, used as an application's developer would: a directory, a port, HTTP."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.models import minilm_directory, tiny_model

START_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Local:
    client: httpx.Client
    process: "subprocess.Popen[bytes]"

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, **search: Any) -> list[str]:
        return [hit["id"] for hit in self.post("/v1/search", {"consistency": "strong", **search})["hits"]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "embedding_serving", "local", *options]


@contextlib.contextmanager
def running(model: Path, data: Path, options: Sequence[str] = ()) -> Iterator[Local]:
    port = free_port()
    log = data.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("--model", str(model), "--data-dir", str(data), "--port", str(port), *options),
            stderr=output,
            env={**os.environ, "EO_TERMINATION_PATH": str(data.with_suffix(".end"))},
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "ready: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Local(client, process)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


DOCUMENTS = [
    {"id": "cat", "text": "A cat sleeps on the warm stones by the harbour.", "metadata": {"topic": "animals", "year": 2021}},
    {"id": "bank", "text": "The central bank raised its interest rate.", "metadata": {"topic": "money", "year": 2023}},
    {"id": "rain", "text": "Heavy rain is expected along the coast.", "metadata": {"topic": "weather", "year": 2024}},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local") / "data"


def test_texts_are_found_by_meaning_words_and_filter(data: Path) -> None:
    fields = json.dumps([{"name": "topic", "type": "Keyword"}])
    with running(minilm_directory(), data, ["--fields", fields]) as local:
        local.post("/v1/documents", {"documents": DOCUMENTS})
        assert local.ids(query="a kitten naps", k=1) == ["cat"]
        assert local.ids(keywords="rain", k=3) == ["rain"]
        assert local.ids(query="a kitten naps", k=3, filter={"must": [{"key": "topic", "match": {"value": "money"}}]}) == [
            "bank"
        ]


def test_a_restart_keeps_documents_and_needs_no_new_conversion(data: Path) -> None:
    with running(minilm_directory(), data) as local:
        prepared = {path: path.stat().st_mtime_ns for path in (data / "weights").glob("*/model.json")}
        assert local.ids(query="interest rates", k=1) == ["bank"]
        local.client.delete("/v1/documents/bank").raise_for_status()
        local.process.kill()
        local.process.wait(STOP_SECONDS)
    with running(minilm_directory(), data) as local:
        assert {path: path.stat().st_mtime_ns for path in (data / "weights").glob("*/model.json")} == prepared
        assert "bank" not in local.ids(query="interest rates", k=3)


def test_another_model_is_told_apart_from_the_one_that_made_the_vectors(data: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other")
    options = ("--model", str(other), "--data-dir", str(data), "--port", str(free_port()))
    ended = subprocess.run(
        command(*options), capture_output=True, timeout=START_SECONDS, env={**os.environ, "EO_TERMINATION_PATH": "/dev/null"}
    )
    assert ended.returncode == 1
    assert b"give it the volume that was made for it" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "model"),
        (("--model", "/nowhere"), "/nowhere"),
        (("--model", "/nowhere", "--port", "many"), "port"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(options: Sequence[str], expected: str, tmp_path: Path) -> None:
    given = (*options, "--data-dir", str(tmp_path / "data")) if options else ()
    ended = subprocess.run(
        command(*given),
        capture_output=True,
        timeout=START_SECONDS,
        cwd=tmp_path,
        env={**os.environ, "EO_TERMINATION_PATH": "/dev/null"},
    )
    assert ended.returncode != 0
    assert expected in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr


def test_a_directory_in_use_is_said_with_who_has_it(data: Path) -> None:
    with running(minilm_directory(), data) as local:
        second = subprocess.run(
            command("--model", str(minilm_directory()), "--data-dir", str(data), "--port", str(free_port())),
            capture_output=True,
            timeout=START_SECONDS,
            env={**os.environ, "EO_TERMINATION_PATH": "/dev/null"},
        )
        assert second.returncode == 1
        said = second.stderr.decode()
        assert f"{data} is in use by process {local.process.pid} ({str(local.client.base_url).rstrip('/')})" in said
        assert "Traceback" not in said
        local.ids(keywords="rain", k=1)  # the first goes on


def test_the_help_shows_values_as_they_are_written(tmp_path: Path) -> None:
    shown = subprocess.run(command("--help"), capture_output=True, timeout=START_SECONDS, cwd=tmp_path)
    assert shown.returncode == 0
    text = shown.stdout.decode()
    assert "--options.pooling {Auto,Mean,CLS,LastToken}" in text
    assert "--index-options.type {Auto,Flat,IVFFlat,IVFPQ,PQFastScan,HNSW,ScaNN}" in text
    refused = subprocess.run(
        command("--model", str(tmp_path), "--options.pooling", "LastToken", "--data-dir", str(tmp_path / "data")),
        capture_output=True,
        timeout=START_SECONDS,
        cwd=tmp_path,
        env={**os.environ, "EO_TERMINATION_PATH": "/dev/null"},
    )
    assert "pooling" not in refused.stderr.decode()


def test_control_c_ends_it_cleanly(data: Path) -> None:
    with running(minilm_directory(), data) as local:
        local.process.send_signal(signal.SIGINT)
        assert local.process.wait(STOP_SECONDS) == 0


def test_a_port_that_is_taken_is_said_and_nothing_else(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ("--model", str(minilm_directory()), "--data-dir", str(data), "--port", str(taken.getsockname()[1]))
        ended = subprocess.run(
            command(*options),
            capture_output=True,
            timeout=START_SECONDS,
            env={**os.environ, "EO_TERMINATION_PATH": "/dev/null"},
        )
    assert ended.returncode == 1
    assert b"in use" in ended.stderr
    assert b"Traceback" not in ended.stderr
