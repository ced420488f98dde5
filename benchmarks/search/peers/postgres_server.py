"""A PostgreSQL of its own for one run: data of its own, no TCP port, gone at the end."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .environment import debian_with_postgres

BINARIES = "/usr/lib/postgresql/17/bin"
START_SECONDS = 60
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "2GB",
    "effective_cache_size": "6GB",
    "maintenance_work_mem": "3GB",
    "max_wal_size": "4GB",
    "max_parallel_maintenance_workers": "1",
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
}
"""Sized for the whole index in memory, as pgvector's guide advises. Durability is as it comes: fsync, synchronous_commit."""


@dataclass(frozen=True)
class PostgresServer:
    pid: int
    socket_dir: str


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Raises PeerMissing, or RuntimeError with the end of the server's log."""
    root = debian_with_postgres()
    _sweep(root)
    inside = f"/var/tmp/bench-{os.getpid()}"  # noqa: S108 - a directory of its own root
    data = root / inside.lstrip("/")
    # A socket's path has at most 107 bytes: it is reached through a short link.
    with tempfile.TemporaryDirectory(prefix="pg-") as short:
        process = None
        try:
            _initialise(root, inside)
            with (Path(short) / "log").open("wb") as log:
                settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
                command = [f"{BINARIES}/postgres", "-D", inside, f"--unix_socket_directories={inside}", *settings]
                process = subprocess.Popen(_within(root, command), stdout=log, stderr=log)
            (Path(short) / "s").symlink_to(data)
            _await_socket(process, data, Path(short) / "log")
            yield PostgresServer(process.pid, f"{short}/s")
        finally:
            if process:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
            shutil.rmtree(data, ignore_errors=True)


def _within(root: Path, command: list[str]) -> list[str]:
    return ["chroot", "--userspec=postgres:postgres", str(root), *command]


def _initialise(root: Path, inside: str) -> None:
    made = subprocess.run(
        _within(root, [f"{BINARIES}/initdb", "-D", inside, "-U", "postgres", "--auth=trust", "--locale=C.UTF-8"]),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr[-500:]}")


def _await_socket(process: "subprocess.Popen[bytes]", data: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if "ready" in _status(data):
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-1000:]}")


def _status(data: Path) -> str:
    """The last line of postmaster.pid is `ready` once connections are taken."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()[-1]
    except (OSError, IndexError):
        return ""


def _sweep(root: Path) -> None:
    """Servers of runs that were killed: each directory carries the process id of its run."""
    for data in (root / "var/tmp").glob("bench-*"):
        owner = int(data.name.partition("-")[2])
        if Path(f"/proc/{owner}").exists():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
            if data.name.encode() in Path(f"/proc/{postmaster}/cmdline").read_bytes():
                os.kill(postmaster, signal.SIGINT)
                _await_end(postmaster)
        shutil.rmtree(data, ignore_errors=True)


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
