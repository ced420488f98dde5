"""A server under test: its process, its address, and the CPU time it has used."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class RunningServer:
    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(name: str, command: Sequence[str], port: int, env: Mapping[str, str], log: Path) -> Iterator[RunningServer]:
    """Starts the server, waits until it is ready, and stops it at the end. Raises RuntimeError with the end of its log."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], env={**os.environ, **env}, stdout=output, stderr=output)
        try:
            _await_ready(name, process, port, log)
            yield RunningServer(name, port, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _await_ready(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2)
            return
        time.sleep(0.1)
    raise RuntimeError(f"{name} is not ready: {log.read_text()[-2000:]}")
