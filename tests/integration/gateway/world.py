"""A whole search service as processes on loopback: shards with their copies, an encoder if there is a model, a gateway."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from embedding_serving.contract.admin import ADMIN_PATH
from embedding_serving.contract.index import Distance
from embedding_serving.contract.route import GenerationRoute, Phase, Route
from embedding_serving.contract.settings import GatewaySettings, to_env
from integration.shard.shard_process import (
    DIMENSIONS,
    FINGERPRINT,
    NAMESPACE,
    Operator,
    ShardProcess,
    shard_settings,
    until,
)

INDEX = "docs"
GATEWAY_POD = "docs-search-0"
SECONDS = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port


@dataclass
class Generation:
    """The shards of one generation: `copies[shard]` has the writer first."""

    number: int
    copies: list[list[ShardProcess]]
    fingerprint: str = FINGERPRINT
    dimensions: int = DIMENSIONS
    distance: Distance = Distance.COSINE
    model: str | None = None
    revision: str | None = None
    encoder: str | None = None

    @property
    def all(self) -> list[ShardProcess]:
        return [pod for pods in self.copies for pod in pods]

    def route(self) -> GenerationRoute:
        return GenerationRoute(
            generation=self.number,
            hosts=tuple(",".join(f"127.0.0.1:{pod.settings.frame_port}" for pod in pods) for pods in self.copies),
            fingerprint=self.fingerprint,
            dimensions=self.dimensions,
            distance=self.distance,
            model=self.model,
            revision=self.revision,
            encoder=self.encoder,
        )


def route_of(*generations: Generation, writer: int | None = None, seq: int = 1, epoch: int = 1, **changes: Any) -> Route:
    number = generations[0].number if writer is None else writer
    values: dict[str, Any] = {
        "index": INDEX,
        "namespace": NAMESPACE,
        "seq": seq,
        "epoch": epoch,
        "phase": Phase.STABLE,
        "writer": number,
        "weights": {number: 100},
        "next_generation": max(one.number for one in generations) + 1,
        "generations": tuple(one.route() for one in generations),
    }
    return Route.model_validate(values | changes)


def generation(
    work: Path, operator: Operator, *, number: int = 1, shards: int = 1, copies: int = 1, **changes: Any
) -> Generation:
    """Not started yet. Ports are fixed, so that a pod comes back where it was."""
    made = []
    for shard in range(shards):
        name = f"docs-g{number}-s{shard}"
        pods = []
        ports = [free_port() for _ in range(copies)]
        for pod in range(copies):
            values: dict[str, Any] = {
                "generation": number,
                "shard": shard,
                "shards": shards,
                "writer": f"127.0.0.1:{ports[0]}",
                "frame_port": ports[pod],
            }
            settings = shard_settings(work / f"{name}-{pod}", operator, **values | changes)
            settings = settings.model_copy(update={"pod": f"{name}-{pod}"})
            pods.append(ShardProcess(settings, operator, work))
        made.append(pods)
    kept = {name: changes[name] for name in ("fingerprint", "dimensions", "distance", "encoder") if name in changes}
    return Generation(number, made, **kept)


def start(made: Generation, epoch: int = 1) -> None:
    for pod in made.all:
        pod.start()
    for pods in made.copies:
        pods[0].open(epoch)
    for pod in made.all:
        pod.await_ready()


@dataclass
class GatewayProcess:
    settings: GatewaySettings
    operator: Operator
    work: Path
    extra_env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self.work / "gateway.log"

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port('port')}"

    @property
    def port(self) -> int:
        return self._port("port")

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._port('admin_port')}"

    def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("EO_")}
        env |= {"PYTHONPATH": os.pathsep.join(sys.path)} | to_env(self.settings) | self.extra_env
        with self.log_path.open("wb") as log:
            command = [sys.executable, "-m", "embedding_serving", "gateway"]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def await_ready(self) -> "GatewayProcess":
        self.until(self.is_ready, "the gateway is ready")
        return self

    def until(self, holds: Any, what: str) -> None:
        try:
            until(holds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_path.read_text()[-3000:]}") from None

    def push(self, route: Route, token: str | None = None) -> httpx.Response:
        bearer = self.operator.token(self.settings.pod) if token is None else token
        return httpx.post(
            f"{self.admin_url}{ADMIN_PATH}/route",
            content=json.dumps({"route": route.model_dump(mode="json")}),
            headers={"authorization": f"Bearer {bearer}"} if bearer else {},
        )

    def metric(self, name: str) -> float:
        """Sum over the labels."""
        text = httpx.get(f"{self.admin_url}/metrics", timeout=SECONDS).text
        return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, re.MULTILINE)))

    def _port(self, name: str) -> int:
        def listening() -> list[dict[str, Any]]:
            return [line for line in self.log if line.get("message") == "listening"]

        until(lambda: bool(listening()) or self.process is None or self.process.poll() is not None, "the gateway listens")
        assert listening(), self.log_path.read_text()[-3000:]
        return int(listening()[0][name])


def gateway(work: Path, operator: Operator, *, extra_env: dict[str, str] | None = None, **changes: Any) -> GatewayProcess:
    work.mkdir(parents=True, exist_ok=True)
    (work / "route").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "pod": GATEWAY_POD,
        "namespace": NAMESPACE,
        "service": "docs",
        "index": INDEX,
        "admin_public_keys": (operator.public_key,),
        "route_dir": str(work / "route"),
        "termination_path": str(work / "report"),
        "port": 0,
        "admin_port": 0,
        "drain_seconds": 0.0,
        "shutdown_seconds": 5.0,
        "timeout_seconds": 5.0,
        "cache_ttl_seconds": 0,
    } | changes
    return GatewayProcess(GatewaySettings.model_validate(values), operator, work, extra_env or {})


def mount(made: GatewayProcess, route: Route) -> None:
    """As a ConfigMap is: replaced by rename."""
    directory = Path(made.settings.route_dir)
    fresh = directory / ".new"
    fresh.write_text(route.model_dump_json())
    fresh.rename(directory / "route.json")


@contextlib.contextmanager
def serving(
    work: Path, operator: Operator, made: Generation, *, extra_env: dict[str, str] | None = None, **changes: Any
) -> Iterator[GatewayProcess]:
    """Shards and a gateway in front of them, ready. All killed at the end."""
    one = gateway(work / "gateway", operator, extra_env=extra_env, **changes)
    try:
        start(made)
        mount(one, route_of(made))
        one.start()
        yield one.await_ready()
    finally:
        one.kill()
        for pod in made.all:
            pod.stop()


class Client:
    """An application: JSON in and out; a status that is not expected fails the test with the problem."""

    def __init__(self, made: GatewayProcess, key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=made.url, timeout=SECONDS, headers=headers)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def post(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        return self._send("POST", path, status, headers, json=body)

    def patch(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        return self._send("PATCH", path, status, headers, json=body)

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        return self._send("GET", path, status, headers)

    def delete(self, path: str, status: int = 200, **headers: str) -> Any:
        return self._send("DELETE", path, status, headers)

    def put(self, documents: Sequence[dict[str, Any]], **headers: Any) -> list[dict[str, Any]]:
        """Stores documents; all must be accepted."""
        results: list[dict[str, Any]] = self.post("/v1/documents", {"documents": list(documents)}, **headers)["results"]
        assert all("version" in result for result in results), results
        return results

    def ids(self, search: dict[str, Any], **headers: Any) -> list[str]:
        return [hit["id"] for hit in self.post("/v1/search", search, **headers)["hits"]]

    def _send(self, method: str, path: str, status: int, headers: dict[str, str], **body: Any) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.http.request(method, path, headers=named, **body)
        assert answer.status_code == status, answer.text
        return answer.json()


def vectors(number: int, seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """float32 [number, dimensions], of length 1."""
    made = np.random.default_rng(seed).standard_normal((number, dimensions)).astype(np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def documents(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Of an index without a model."""
    return [
        {
            "id": f"d{index:04}",
            "vector": vector.tolist(),
            "text": f"text number {index}",
            "metadata": {"n": index, "even": index % 2 == 0},
        }
        for index, vector in enumerate(vectors(number, seed))
    ]
