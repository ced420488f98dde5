"""The operator under test: a process of its own, what it uses, and what it says of itself."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from .controlplane import OPERATOR, ControlPlane, end_with_parent, free_ports

STOP_SECONDS = 30
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Memory:
    """Mebibytes."""

    resident: float
    proportional: float
    peak: float


@dataclass(frozen=True)
class OperatorProcess:
    process: subprocess.Popen[bytes]
    metrics_port: int
    began: float
    """Seconds since the epoch."""
    log: Path

    def check(self) -> None:
        """Raises RuntimeError, with the end of its log, where it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator ended: {self.log.read_text(errors='replace')[-3000:]}")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory(self) -> Memory:
        folder = Path(f"/proc/{self.process.pid}")
        rollup, status = (folder / "smaps_rollup").read_text(), (folder / "status").read_text()
        return Memory(_kibibytes(rollup, "Rss") / 1024, _kibibytes(rollup, "Pss") / 1024, _kibibytes(status, "VmHWM") / 1024)

    def metric(self, name: str) -> float:
        """The sum over the labels of a metric; 0 before it is served."""
        self.check()
        try:
            text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        except httpx.HTTPError:
            return 0.0
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


@contextlib.contextmanager
def operator(plane: ControlPlane, source: Path = ROOT, **settings: str) -> Iterator[OperatorProcess]:
    """Runs the operator of a checkout until the block ends, then SIGTERM: the Lease is free for the next at once."""
    metrics_port, health_port = free_ports(2)
    log = plane.folder / f"operator-{time.time_ns()}.log"
    with log.open("wb") as output:
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "embedding_operator", "run"],
            env=_environment(plane, source, {"METRICS_PORT": str(metrics_port), "HEALTH_PORT": str(health_port)} | settings),
            stdout=output,
            stderr=output,
            cwd=plane.folder,
            preexec_fn=end_with_parent,
        )
        try:
            yield OperatorProcess(process, metrics_port, began, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def _environment(plane: ControlPlane, source: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EO_OPERATOR_")}
    own = {f"EO_OPERATOR_{key}": value for key, value in settings.items()}
    paths = os.pathsep.join(str(source / folder) for folder in ("operator", "serving"))
    pod = {"EO_OPERATOR_POD_NAME": f"bench-{time.time_ns()}"}
    return kept | pod | own | {"KUBECONFIG": str(plane.kubeconfig(OPERATOR)), "PYTHONPATH": paths}


def _kibibytes(text: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
