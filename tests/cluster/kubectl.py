"""kubectl, the same for every backend."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from cluster import binaries
from cluster.command import run
from cluster.interface import ClusterError

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_OPEN_SECONDS = 20.0


class Kubectl:
    """kubectl bound to one kubeconfig and, if given, one of its contexts."""

    def __init__(self, kubeconfig: Path, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context

    def __call__(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        return run(self.argv(*args), input=input, check=check, env=_environment())

    def argv(self, *args: str) -> list[str]:
        """The whole command line. ClusterError if there is no kubeconfig, so no cluster."""
        if not self._kubeconfig.is_file():
            raise ClusterError(f"there is no cluster: {self._kubeconfig} is missing; `python -m cluster up` makes it")
        chosen = [f"--kubeconfig={self._kubeconfig}", *([f"--context={self._context}"] if self._context else [])]
        return [str(binaries.program("kubectl")), *chosen, *args]

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int, *, namespace: str = "default") -> Iterator[int]:
        """Yield the local port once it is open; kubectl itself picks a free one, so no two can race for it."""
        argv = self.argv("port-forward", "--namespace", namespace, "--address", "127.0.0.1", target, f":{port}")
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment())
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        # The reader goes on after the port is known: a full pipe would stop the forwarding.
        reader = threading.Thread(target=_drain, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            yield _opened_port(lines, target)
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def _environment() -> dict[str, str]:
    # A proxy that the machine uses for its downloads is no way to the cluster.
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _opened_port(lines: queue.Queue[str], target: str) -> int:
    said = ""
    while True:
        try:
            line = lines.get(timeout=_OPEN_SECONDS)
        except queue.Empty:
            raise ClusterError(f"port-forward to {target}: not open after {_OPEN_SECONDS:.0f} s") from None
        if opened := _FORWARDING.search(line):
            return int(opened[1])
        if not line:
            raise ClusterError(f"port-forward to {target}: {said or 'kubectl ended'}")
        said = line.strip()


def _drain(stream: Iterator[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")
