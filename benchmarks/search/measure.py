"""One measurement: clients are started and warm, processor time is read, they work, it is read again."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .dataset import Dataset
from .job import Job, K, Search, Upsert
from .processes import cpu_seconds, memory_bytes
from .system import REPOSITORY, System

CONNECTIONS_PER_CLIENT = 4
"""More are shared among two processes, so that a client in Python is not what limits."""


@dataclass(frozen=True)
class Measurement:
    """`queries_per_cpu_second`: by the processor time of all server processes. Latencies are the clients'."""

    recall: float
    queries: int
    queries_per_second: float
    queries_per_cpu_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    upserts_per_second: float
    upserts_per_cpu_second: float
    memory_bytes: int


class ClientFailed(Exception):
    """A client ended without a result; the message has the end of what it said."""


def measure(
    system: System, data: Dataset, effort: int | None, *, search: Search | None = None, upsert: Upsert | None = None
) -> Measurement:
    """Raises ClientFailed."""
    with tempfile.TemporaryDirectory(prefix="bench-search-") as folder:
        jobs = [
            replace(job, result=str(Path(folder) / f"{number}.npz"), target=system.target(effort))
            for number, job in enumerate(_jobs(system, data, search, upsert))
        ]
        clients = [_start(system, job, Path(folder) / f"{number}.json") for number, job in enumerate(jobs)]
        try:
            used, memory = _run(system, clients)
        finally:
            for client in clients:
                client.kill()
                client.wait()
        return _measurement(data, jobs, used, memory)


def _jobs(system: System, data: Dataset, search: Search | None, upsert: Upsert | None) -> list[Job]:
    folder = str(data.folder)
    if system.in_process:
        return [Job(folder, "", {}, search, upsert)]
    jobs = []
    if search:
        clients = 2 if search.connections >= CONNECTIONS_PER_CLIENT else 1
        apart = len(data.queries) // clients
        share = search.connections // clients
        jobs = [Job(folder, "", {}, replace(search, connections=share, first=n * apart)) for n in range(clients)]
    if upsert:
        jobs.append(Job(folder, "", {}, None, upsert))
    return jobs


def _start(system: System, job: Job, path: Path) -> "subprocess.Popen[str]":
    job.write(path)
    return subprocess.Popen(
        system.command(path),
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(system: System, clients: Sequence["subprocess.Popen[str]"]) -> tuple[float, int]:
    """(processor seconds of the servers during the work, their memory after it)"""
    servers = [client.pid for client in clients] if system.in_process else system.server_pids()
    for client in clients:
        _expect(client, "ready")
    before = cpu_seconds(servers)
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    for client in clients:
        _expect(client, "done")
    used, memory = cpu_seconds(servers) - before, memory_bytes(servers)
    for client in clients:
        if client.wait(timeout=60):
            raise ClientFailed(_last_words(client))
    return used, memory


def _expect(client: "subprocess.Popen[str]", word: str) -> None:
    assert client.stdout is not None
    if client.stdout.readline().strip() != word:
        raise ClientFailed(_last_words(client))


def _last_words(client: "subprocess.Popen[str]") -> str:
    assert client.stderr is not None
    client.kill()
    return f"a client of the benchmark failed: {client.stderr.read()[-1500:]}"


def _measurement(data: Dataset, jobs: Sequence[Job], used: float, memory: int) -> Measurement:
    answers = np.full((len(data.queries), K), -1, np.int64)
    seconds: list[npt.NDArray[np.float64]] = []
    acknowledged, elapsed = 0, 0.0
    for job in jobs:
        with np.load(job.result, allow_pickle=False) as result:
            found = result["answers"]
            answers = np.where(found >= 0, found, answers)
            seconds.append(result["seconds"])
            acknowledged += int(result["acknowledged"])
            elapsed = max(elapsed, float(result["elapsed"]))
    latencies = np.concatenate(seconds)
    percent = next((job.search.percent for job in jobs if job.search), None)
    p50, p99 = np.percentile(latencies, (50, 99)) if len(latencies) else (float("nan"), float("nan"))
    return Measurement(
        recall=data.recall(answers, percent),
        queries=len(latencies),
        queries_per_second=len(latencies) / elapsed,
        queries_per_cpu_second=len(latencies) / used if used else float("nan"),
        p50_milliseconds=float(p50) * 1e3,
        p99_milliseconds=float(p99) * 1e3,
        upserts_per_second=acknowledged / elapsed,
        upserts_per_cpu_second=acknowledged / used if used else float("nan"),
        memory_bytes=memory,
    )
