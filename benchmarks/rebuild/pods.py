"""Encoders, shards and a gateway as bare processes, each on a loopback address of its own, so that all have the usual ports.

A generation's host is the address itself. The table names a writer `<label>-0.<host>`, as a StatefulSet's pods are called:
what is left of that without its first label is the host again.
"""

import asyncio
import base64
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from embedding_operator.build import names
from embedding_operator.resources import Manifest
from embedding_serving.contract.reports import READY_PATH
from embedding_serving.contract.route import ROUTE_KEY, GenerationRoute, Route
from embedding_serving.contract.settings import (
    ADMIN_PORT,
    API_PORT,
    EmbedSettings,
    GatewaySettings,
    RoleSettings,
    ShardSettings,
    to_env,
)

from .models import Prepared

NAMESPACE, INDEX = "bench", "docs"
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
GATEWAY_HOST, FIRST_ENCODER_HOST, HOSTS_A_GENERATION = 1, 2, 16


@dataclass(frozen=True)
class Pod:
    name: str
    address: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def manifest(self) -> Manifest:
        meta = {"name": self.name, "namespace": NAMESPACE, "uid": self.name}
        return {"metadata": meta, "status": {"phase": "Running", "podIP": self.address}}

    @property
    def last_words(self) -> str:
        return (self.folder / "log").read_text()[-2_000:]

    def disk_bytes(self) -> int:
        """Blocks that its volume takes."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())


class Pods:
    """All of them end with the context."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.by_name: dict[str, Pod] = {}
        self._encoders = 0
        self._network = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
        self._work = tempfile.TemporaryDirectory(prefix="bench-rebuild-")

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *reason: object) -> None:
        for pod in self.by_name.values():
            pod.process.terminate()
        for pod in self.by_name.values():
            try:
                pod.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pod.process.kill()
                pod.process.wait()
        self._work.cleanup()

    def host(self, generation: int, shard: int) -> str:
        return f"{self._network}.{HOSTS_A_GENERATION * generation + shard}"

    def encoder(self, model: Prepared) -> Pod:
        address = f"{self._network}.{FIRST_ENCODER_HOST + self._encoders}"
        self._encoders += 1
        settings = EmbedSettings(
            **self._common(address),
            revision=model.revision,
            expected_fingerprint=model.fingerprint,
            weights_dir=str(model.weights),
            model_name=model.name,
        )
        return self._run("embed", f"{model.name}-embed-0", settings)

    def shard(self, generation: GenerationRoute, number: int) -> Pod:
        """Started where it does not run yet."""
        name = f"{names.shard(INDEX, generation.generation, number)}-0"
        if name in self.by_name:
            return self.by_name[name]
        host = generation.hosts[number]
        settings = ShardSettings(
            **self._common(host),
            **self._commanded(name),
            index=INDEX,
            generation=generation.generation,
            shard=number,
            shards=generation.shards,
            writer=host,
            fingerprint=generation.fingerprint,
            dimensions=generation.dimensions,
            encoder=generation.encoder,
            data_dir=str(self._folder(name)),
        )
        return self._run("shard", name, settings)

    def gateway(self, route: Route) -> Pod:
        """It mounts the route as it is now, and hears of newer ones from the operator and from shards: a kubelet is slow."""
        name = "docs-search-0"
        mounted = self._folder(f"{name}-route")
        (mounted / ROUTE_KEY).write_text(route.model_dump_json())
        settings = GatewaySettings(
            **self._common(f"{self._network}.{GATEWAY_HOST}"),
            **self._commanded(name),
            service=INDEX,
            index=INDEX,
            route_dir=str(mounted),
            cache_ttl_seconds=0,
            timeout_seconds=10.0,
        )
        return self._run("gateway", name, settings)

    async def ready(self, *pods: Pod) -> None:
        """Raises RuntimeError with the last words of one that is not."""
        async with aiohttp.ClientSession() as session:
            for pod in pods:
                await self._ready(session, pod)

    async def _ready(self, session: aiohttp.ClientSession, pod: Pod) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while pod.process.poll() is None:
                    if await _answers(session, f"http://{pod.address}:{ADMIN_PORT}{READY_PATH}"):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        raise RuntimeError(f"{pod.name} is not ready: {pod.last_words}")

    def _run(self, role: str, name: str, settings: RoleSettings) -> Pod:
        folder = self._folder(name)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("EO_")}
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "embedding_serving", role]
            process = subprocess.Popen(command, env=inherited | to_env(settings), stdout=log, stderr=log)
        pod = self.by_name[name] = Pod(name, settings.host, folder, process)
        return pod

    def _folder(self, name: str) -> Path:
        folder = Path(self._work.name) / name
        folder.mkdir(exist_ok=True)
        return folder

    def _common(self, address: str) -> dict[str, Any]:
        return {
            "host": address,
            "log_level": "WARNING",
            "termination_path": str(Path(self._work.name) / f"{address}.report"),
            "drain_seconds": 0.0,
        }

    def _commanded(self, name: str) -> dict[str, Any]:
        public = base64.b64encode(self.key.public_key().public_bytes_raw()).decode()
        return {"pod": name, "namespace": NAMESPACE, "admin_public_keys": (public,)}


def api(pod: Pod) -> str:
    return f"http://{pod.address}:{API_PORT}"


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
