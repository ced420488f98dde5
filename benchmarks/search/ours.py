"""Shards and a gateway as bare processes, as their pods run them; commanded over the admin API as the operator does."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from embedding_serving.contract.admin import (
    ADMIN_PATH,
    SHARD_INFO_PATH,
    TOKEN_ALGORITHM,
    TOKEN_ISSUER,
    TOKEN_SECONDS,
    IndexState,
    ShardInfo,
    Unfence,
    audience,
)
from embedding_serving.contract.index import Distance, FieldIndex, FieldType, IndexOptions, IndexType
from embedding_serving.contract.reports import READY_PATH
from embedding_serving.contract.route import ROUTE_KEY, GenerationRoute, Phase, Route
from embedding_serving.contract.settings import GatewaySettings, PodSettings, ShardSettings, to_env

from ..embed.server import free_port
from .dataset import Dataset
from .peers.loading import run_loader
from .system import Loaded

NAMESPACE, INDEX, EPOCH = "bench", "bench", 1
START_SECONDS = 60
STOP_SECONDS = 120
STILL_SECONDS = 8.0
"""Longer than an index waits until it builds in what came last."""
BUILD_SECONDS = 1_800
MODULE = "benchmarks.search.ours_client"


@dataclass(frozen=True)
class ShardPod:
    """One copy of one shard; copy 0 is the writer."""

    shard: int
    copy: int
    frame_port: int
    admin_port: int

    @property
    def name(self) -> str:
        return f"{INDEX}-g1-s{self.shard}-{self.copy}"


class Ours:
    efforts: ClassVar[Sequence[int]] = ()
    in_process: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        *,
        shards: int = 1,
        copies: int = 1,
        base64_vectors: bool = False,
        index: IndexType = IndexType.AUTO,
    ) -> None:
        """copies: of each shard; the first takes the writes, the others follow it."""
        self.name = name
        self._shards = shards
        self._copies = copies
        self._base64 = base64_vectors
        self._index = index
        self._stack = contextlib.ExitStack()
        self._settings: list[tuple[str, PodSettings]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._target: dict[str, Any] = {}

    def __enter__(self) -> "Ours":
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-ours-")))
        self._key = Ed25519PrivateKey.generate()
        return self

    def __exit__(self, *reason: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(timeout=STOP_SECONDS)
        self._stack.close()

    def load(self, data: Dataset) -> Loaded:
        pods = self._start(data)
        said = json.loads(run_loader(data, self._target, lambda job: [sys.executable, "-m", MODULE, job, "load"]))
        started = time.monotonic()
        for pod in pods:
            _await(lambda pod=pod: _served(pods, pod), BUILD_SECONDS, f"the index of {pod.name}", self._died)  # type: ignore[misc]
        return Loaded(said["load_seconds"], time.monotonic() - started - STILL_SECONDS)

    def restart_seconds(self) -> float:
        """Stops the shards as Kubernetes does, starts them again; gives the time until the last of them is ready."""
        shards = [number for number, (role, _) in enumerate(self._settings) if role == "shard"]
        for number in shards:
            self._processes[number].terminate()
        for number in shards:
            self._processes[number].wait(timeout=STOP_SECONDS)
        started = time.monotonic()
        for number in shards:
            self._processes[number] = self._process(number)
        for number in shards:
            url = f"http://127.0.0.1:{self._settings[number][1].admin_port}{READY_PATH}"
            _await(lambda url=url: _get(url) is not None, BUILD_SECONDS, "a shard", self._died)  # type: ignore[misc]
        return time.monotonic() - started

    def command(self, job: Path) -> list[str]:
        return [sys.executable, "-m", MODULE, str(job)]

    def target(self, effort: int | None) -> dict[str, Any]:
        return self._target

    def server_pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes]

    def complaints(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.stem}: {words}" for log in logs if (words := log.read_text()[-1500:]))

    def _start(self, data: Dataset) -> list[ShardPod]:
        """Shards, opened for writes; then a gateway that has their route."""
        pods = [
            ShardPod(shard, copy, free_port(), free_port()) for shard in range(self._shards) for copy in range(self._copies)
        ]
        for pod in pods:
            self._run("shard", self._shard_settings(data, pod, next(one for one in pods if one.shard == pod.shard)))
        histories = [self._open(pod) for pod in pods if pod.copy == 0]
        self._write_route(data, pods, histories)
        port, admin_port = free_port(), free_port()
        self._run("gateway", self._gateway_settings(port, admin_port))
        url = f"http://127.0.0.1:{admin_port}{READY_PATH}"
        _await(lambda: _get(url) is not None, START_SECONDS, "the gateway", self._died)
        self._target = {"port": port, "fingerprint": data.fingerprint, "base64": self._base64}
        return pods

    def _run(self, role: str, settings: PodSettings) -> None:
        self._settings.append((role, settings))
        self._processes.append(self._process(len(self._processes)))

    def _process(self, number: int) -> "subprocess.Popen[bytes]":
        role, settings = self._settings[number]
        with (self._folder / f"{role}-{number}.log").open("ab") as output:
            command = [sys.executable, "-m", "embedding_serving", role]
            return subprocess.Popen(command, env={**os.environ, **to_env(settings)}, stdout=output, stderr=output)

    def _shard_settings(self, data: Dataset, pod: ShardPod, writer: ShardPod) -> ShardSettings:
        folder = self._folder / pod.name
        folder.mkdir()
        return ShardSettings(
            **self._pod_settings(pod.name, pod.admin_port),
            index=INDEX,
            generation=1,
            shard=pod.shard,
            shards=self._shards,
            writer=f"127.0.0.1:{writer.frame_port}",
            fingerprint=data.fingerprint,
            dimensions=data.documents.shape[1],
            fields=(FieldIndex(name="percentile", type=FieldType.INTEGER),),
            index_options=IndexOptions(type=self._index),
            data_dir=str(folder),
            frame_port=pod.frame_port,
        )

    def _gateway_settings(self, port: int, admin_port: int) -> GatewaySettings:
        """Without its cache: the queries come again and again."""
        return GatewaySettings(
            **self._pod_settings("bench-search-0", admin_port),
            service=INDEX,
            index=INDEX,
            route_dir=str(self._folder),
            cache_ttl_seconds=0,
            port=port,
        )

    def _pod_settings(self, pod: str, admin_port: int) -> dict[str, Any]:
        public = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()
        return {
            "pod": pod,
            "namespace": NAMESPACE,
            "admin_public_keys": (public,),
            "admin_port": admin_port,
            "log_level": "WARNING",
            "termination_path": str(self._folder / f"{pod}.report"),
            "drain_seconds": 0.0,
        }

    def _open(self, pod: ShardPod) -> str:
        """Lets an empty shard take writes; gives its history."""
        _await(lambda: bool((info := _info(pod)) and info.history), START_SECONDS, pod.name, self._died)
        info = _info(pod)
        assert info
        now = int(time.time())
        claims = {"iss": TOKEN_ISSUER, "aud": audience(NAMESPACE, pod.name), "iat": now, "exp": now + TOKEN_SECONDS}
        request = urllib.request.Request(
            f"http://127.0.0.1:{pod.admin_port}{ADMIN_PATH}/unfence",
            Unfence(epoch=EPOCH, history=info.history).model_dump_json().encode(),
            {"Authorization": f"Bearer {jwt.encode(claims, self._key, TOKEN_ALGORITHM)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):
            return info.history

    def _write_route(self, data: Dataset, pods: Sequence[ShardPod], histories: Sequence[str]) -> None:
        by_shard = [[pod for pod in pods if pod.shard == shard] for shard in range(self._shards)]
        generation = GenerationRoute(
            generation=1,
            hosts=tuple(",".join(f"127.0.0.1:{pod.frame_port}" for pod in copies) for copies in by_shard),
            histories=tuple(histories),
            fingerprint=data.fingerprint,
            dimensions=data.documents.shape[1],
            distance=Distance.COSINE,
        )
        route = Route(
            index=INDEX,
            namespace=NAMESPACE,
            seq=1,
            epoch=EPOCH,
            phase=Phase.STABLE,
            writer=1,
            weights={1: 100},
            next_generation=2,
            generations=(generation,),
        )
        (self._folder / ROUTE_KEY).write_text(route.model_dump_json())

    def _died(self) -> str | None:
        """The last words of a process that has ended."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                log = next(self._folder.glob(f"*-{number}.log"))
                return f"{log.stem} ended with {process.returncode}: {log.read_text()[-1500:]}"
        return None


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return None


def _info(pod: ShardPod) -> ShardInfo | None:
    said = _get(f"http://127.0.0.1:{pod.admin_port}{SHARD_INFO_PATH}")
    return ShardInfo.model_validate_json(said) if said else None


def _served(pods: Sequence[ShardPod], pod: ShardPod) -> bool:
    """Whether the pod has all that its shard's writer has, and has not been building an index for STILL_SECONDS."""
    writer = next(one for one in pods if one.shard == pod.shard)
    before = _still(writer, pod)
    if not before:
        return False
    time.sleep(STILL_SECONDS)
    return _still(writer, pod) == before


def _still(writer: ShardPod, pod: ShardPod) -> IndexState | None:
    writing, info = _info(writer), _info(pod)
    if not writing or not info or not info.ready or info.documents != writing.documents:
        return None
    return info.index.model_copy(update={"recall": None}) if info.index and info.index.building is None else None


def _await(holds: Callable[[], bool], seconds: float, what: str, failure: Callable[[], str | None] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if words := failure():
            raise RuntimeError(words)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} is not ready after {seconds:.0f} s")
        time.sleep(0.1)
