"""The real `python -m embedding_serving shard` as processes on loopback, and what operator and gateway say to them."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from embedding_serving.contract.admin import (
    ADMIN_PATH,
    SHARD_INFO_PATH,
    TOKEN_ALGORITHM,
    TOKEN_ISSUER,
    TOKEN_SECONDS,
    ShardInfo,
    audience,
)
from embedding_serving.contract.settings import ShardSettings, to_env
from embedding_serving.wire.client import Answer, Connection

NAMESPACE = "test"
SET = "docs-g1-s0"
DIMENSIONS = 16
FINGERPRINT = "client-16-cosine"
DEADLINE_SECONDS = 60.0
CALL_SECONDS = 20.0


@dataclass(frozen=True)
class Operator:
    """Signs tokens, as the operator does."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def token(self, pod: str, **changes: Any) -> str:
        now = time.time()
        claims = {"iss": TOKEN_ISSUER, "aud": audience(NAMESPACE, pod), "iat": now, "exp": now + TOKEN_SECONDS} | changes
        return jwt.encode(claims, self.key, algorithm=TOKEN_ALGORITHM)


@dataclass
class ShardProcess:
    """One pod. A restart keeps its directory and takes new ports."""

    settings: ShardSettings
    operator: Operator
    work: Path
    wrapper: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = self._log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._logged('listening', 'admin_port')}"

    @property
    def frame_port(self) -> int:
        return int(self._logged("serving", "frame_port"))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.frame_port}"

    def start(self) -> None:
        self.starts += 1
        command = [*self.wrapper, sys.executable, "-m", "embedding_serving", "shard"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("EO_")} | to_env(self.settings)
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        self.process = None
        return code

    def stop(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)

    def info(self) -> ShardInfo:
        answer = httpx.get(f"{self.admin_url}{SHARD_INFO_PATH}", timeout=CALL_SECONDS)
        answer.raise_for_status()
        return ShardInfo.model_validate_json(answer.content)

    def metrics(self) -> str:
        return httpx.get(f"{self.admin_url}/metrics", timeout=CALL_SECONDS).text

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.admin_url}/readyz", timeout=5).status_code == 200
        return False

    def await_ready(self) -> "ShardProcess":
        until(self.is_ready, f"{self.settings.pod} is ready", self)
        return self

    def tell(self, name: str, token: str | None = None, **members: Any) -> httpx.Response:
        """A message of the operator; epoch and history are filled in where they are not given."""
        info = self.info()
        body = {"epoch": info.epoch, "history": info.history} | members
        return self.post(name, body, self.operator.token(self.settings.pod) if token is None else token)

    def post(self, name: str, body: Any, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"{self.admin_url}{ADMIN_PATH}/{name}", json=body, headers=headers, timeout=CALL_SECONDS)

    def open(self, epoch: int = 1) -> "ShardProcess":
        self.await_ready()
        answer = self.tell("unfence", epoch=epoch)
        assert answer.status_code == 200, answer.text
        return self

    @property
    def _log_path(self) -> Path:
        return self.work / f"{self.settings.pod}-{self.starts}.log"

    def _logged(self, message: str, member: str) -> Any:
        found: list[Any] = []

        def look() -> bool:
            found[:] = [line[member] for line in self.log if line["message"] == message and member in line]
            return bool(found)

        until(look, f"{self.settings.pod} logs {message!r}", self)
        return found[-1]


def until(holds: Callable[[], bool], what: str, shard: ShardProcess | None = None) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        ended = shard is not None and (shard.process is None or shard.process.poll() is not None)
        if ended or time.monotonic() > deadline:
            tail = shard._log_path.read_text()[-3000:] if shard is not None else ""
            raise AssertionError(f"it never came to be that {what}: {tail}")
        time.sleep(0.02)


async def until_async(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"it never came to be that {what}"
        await asyncio.sleep(0.02)


def shard_settings(data_dir: Path, operator: Operator, *, pod: int = 0, **changes: Any) -> ShardSettings:
    data_dir.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "pod": f"{SET}-{pod}",
        "namespace": NAMESPACE,
        "index": "docs",
        "admin_public_keys": (operator.public_key,),
        "generation": 1,
        "shard": 0,
        "shards": 1,
        "writer": f"{SET}-0.{SET}",
        "fingerprint": FINGERPRINT,
        "dimensions": DIMENSIONS,
        "text_required": False,
        "data_dir": str(data_dir),
        "termination_path": str(data_dir / "report"),
        "admin_port": 0,
        "frame_port": 0,
        "drain_seconds": 0.0,
        "shutdown_seconds": 5.0,
    } | changes
    return ShardSettings.model_validate(values)


@dataclass
class Caller:
    """A gateway's connection to one pod."""

    connection: Connection

    async def call(self, op: str, tail: bytes | memoryview = b"", **head: Any) -> Answer:
        pinned = {"op": op, "g": 1, "f": FINGERPRINT, "e": 1} | head
        return await self.connection.call(pinned, tail, timeout=CALL_SECONDS)

    async def write(self, changes: Sequence[dict[str, Any]], vectors: NDArray[np.float32] | None = None, **head: Any) -> Answer:
        members: dict[str, Any] = {"request_id": os.urandom(8).hex(), "issued_at": time.time_ns() // 1_000_000} | head
        tail = b"" if vectors is None else np.ascontiguousarray(vectors, "<f4").tobytes()
        return await self.call("write", tail, changes=list(changes), **members)

    async def put(self, ids: Sequence[str], vectors: NDArray[np.float32], **members: Any) -> Answer:
        return await self.write([{"op": "put", "id": id_, "vector": True} | members for id_ in ids], vectors)

    async def search(self, query: NDArray[np.float32], k: int = 10, **head: Any) -> list[str]:
        """Ids of the hits."""
        queries = np.atleast_2d(query)
        answer = await self.call("search", queries.astype("<f4").tobytes(), k=k, queries=len(queries), documents=True, **head)
        return [document[1] for document in answer.head["documents"][0] if document is not None]

    async def get(self, ids: Sequence[str], **head: Any) -> list[Any]:
        documents: list[Any] = (await self.call("get", ids=list(ids), **head)).head["documents"]
        return documents


@contextlib.asynccontextmanager
async def calling(shard: ShardProcess) -> AsyncIterator[Caller]:
    connection = await Connection.connect("127.0.0.1", shard.frame_port, peer="test", timeout=CALL_SECONDS)
    try:
        yield Caller(connection)
    finally:
        connection.close()


def vectors(number: int, seed: int) -> NDArray[np.float32]:
    """float32 [number, DIMENSIONS], normalised."""
    made = np.random.default_rng(seed).standard_normal((number, DIMENSIONS)).astype(np.float32)
    normalised: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return normalised
