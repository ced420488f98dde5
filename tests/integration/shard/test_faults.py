"""Killed, corrupted, filled: what a shard does on bad days."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from embedding_serving.contract.reports import Report
from embedding_serving.wire.errors import CallFailed, WireError

from .conftest import MakeShard
from .shard_process import Caller, ShardProcess, calling, until, vectors


async def test_what_was_acknowledged_survives_sigkill(shard: ShardProcess) -> None:
    acknowledged = 0
    made = vectors(400, seed=1)
    for _ in range(3):
        async with calling(shard) as gateway:
            writes = []
            for n in range(acknowledged, acknowledged + 100):
                head = {
                    "op": "write", "g": 1, "f": shard.settings.fingerprint, "request_id": f"r{n}-{shard.starts}",
                    "issued_at": time.time_ns() // 1_000_000,
                    "changes": [{"op": "put", "id": f"d{n}", "vector": True}],
                }  # fmt: skip
                writes.append(gateway.connection.send(head, made[n].tobytes(), timeout=20))
            for write in writes[:30]:
                await write
            shard.end(signal.SIGKILL)
            done = [write for write in writes if not await _failed(write)]
        acknowledged += len(done)
        shard.start()
        shard.await_ready()
        async with calling(shard) as gateway:
            found = await gateway.get([f"d{n}" for n in range(acknowledged)])
            assert None not in found
            assert (await gateway.search(made[acknowledged - 1], k=1))[0] == f"d{acknowledged - 1}"
    assert acknowledged >= 90


async def test_a_corrupt_store_serves_nothing_and_says_how_to_restore(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        for n in range(5):
            await gateway.put([f"d{n}-{m}" for m in range(100)], vectors(100, seed=n), text="x" * 100)
    shard.end(signal.SIGTERM)
    _flip(Path(shard.settings.data_dir) / "store.sqlite")
    shard.start()
    until(lambda: shard.info().fault == "corrupt", "the damage is found")
    info = shard.info()
    assert not info.ready
    assert info.message is not None
    assert "restore" in info.message
    assert _status(shard, "/readyz") == 503
    assert _status(shard, "/healthz") == 200
    answer = shard.post("unfence", {"epoch": 2, "history": "h"}, shard.operator.token(shard.settings.pod))
    assert (answer.status_code, answer.json()["code"]) == (409, "corrupt")
    assert shard.end(signal.SIGTERM) == 0


async def test_a_damaged_index_cache_is_made_again(shard: ShardProcess) -> None:
    made = vectors(500, seed=2)
    async with calling(shard) as gateway:
        await gateway.put([f"d{n}" for n in range(500)], made)
    shard.end(signal.SIGTERM)
    files = [file for file in (Path(shard.settings.data_dir) / "cache").rglob("*") if file.is_file()]
    assert files
    for file in files:
        file.write_bytes(os.urandom(100))
    shard.start()
    shard.await_ready()
    async with calling(shard) as gateway:
        assert await gateway.search(made[77], k=1) == ["d77"]


def test_a_volume_is_opened_by_one_process_alone(shard: ShardProcess, make_shard: MakeShard) -> None:
    second = make_shard()
    until(lambda: second.process is not None and second.process.poll() is None, "it waits")
    assert _status(shard, "/readyz") == 200
    shard.end(signal.SIGKILL)
    second.await_ready()


def test_a_volume_of_another_shard_is_refused(shard: ShardProcess, make_shard: MakeShard) -> None:
    shard.end(signal.SIGTERM)
    other = make_shard(generation=2, fingerprint="client-16-dot")
    assert other.process is not None
    assert other.process.wait(timeout=60) == 1
    report = Report.parse(Path(other.settings.termination_path).read_text())
    assert report is not None
    assert "generation 1" in report.message


async def test_a_drain_answers_what_runs_and_ends_with_0(make_shard: MakeShard) -> None:
    shard = make_shard(drain_seconds=0.5).open()
    async with calling(shard) as gateway:
        assert shard.process is not None
        waiting = gateway.connection.send(
            {"op": "get", "g": 1, "f": shard.settings.fingerprint, "ids": ["a"], "position": 3, "deadline_ms": 2000}, timeout=20
        )
        shard.process.send_signal(signal.SIGTERM)
        until(lambda: not shard.is_ready(), "it is not ready")
        await gateway.put(["a"], vectors(1, seed=3))
        written = await gateway.put(["b"], vectors(1, seed=3))
        assert written.head["p"] >= 3
        assert (await waiting).head["documents"][0][1] == "a"
    assert shard.process.wait(timeout=20) == 0


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_volume_refuses_writes_and_goes_on_reading(make_shard: MakeShard, small_volume: Path) -> None:
    shard = make_shard(data_dir=small_volume).open()
    made = vectors(1, seed=4)
    async with calling(shard) as gateway:
        await gateway.put(["first"], made, text="t")
        filler = small_volume / "filler"
        _fill(filler)
        assert await _first_refusal(gateway, made) == "volume_full"
        assert await gateway.search(made[0], k=1) == ["first"]
        assert shard.info().fault == "volume_full"
        filler.unlink()
        await gateway.put(["after"], made, text="t")
        assert shard.info().fault is None


async def _first_refusal(gateway: Caller, made: NDArray[np.float32]) -> str:
    for n in range(2_000):
        try:
            await gateway.put([f"d{n}"], made, text="x" * 100_000)
        except WireError as error:
            return error.code
    return "none"


def _fill(path: Path) -> None:
    """Takes all the space that is left."""
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 65_536)
            file.flush()


async def _failed(write: object) -> bool:
    try:
        await write  # type: ignore[misc]
    except CallFailed:
        return True
    return False


def _flip(path: Path) -> None:
    """Damages pages in the middle of the file."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 16_384)


def _status(shard: ShardProcess, path: str) -> int:
    return httpx.get(f"{shard.admin_url}{path}", timeout=10).status_code
