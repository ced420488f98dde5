"""A real shard on a disk that is full, read-only, failing, or has changed what it was given."""

import contextlib
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedding_serving.wire.errors import WireError
from integration.shard.shard_process import Caller, Operator, ShardProcess, calling, shard_settings, until, vectors

from .small_volume import fill, remount, small_volume

LONG = os.environ.get("FAULTS") == "long"
DOCUMENTS = 12_000
"""More than are scanned without an index."""
VECTORS = vectors(DOCUMENTS, seed=1)


@pytest.fixture
def draw() -> random.Random:
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    return random.Random(seed)


@contextlib.contextmanager
def shard_on(directory: Path, work: Path, **changes: Any) -> Iterator[ShardProcess]:
    operator = Operator()
    shard = ShardProcess(shard_settings(directory, operator, **changes), operator, work)
    shard.start()
    try:
        yield shard
    finally:
        shard.stop()


async def load(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        for start in range(0, DOCUMENTS, 1_000):
            part = range(start, start + 1_000)
            await gateway.put([f"d{n}" for n in part], VECTORS[start : start + 1_000], text="text")


async def answers_rightly(gateway: Caller, number: int = 10) -> None:
    """Its own vector finds a document, and the scores are those of the vectors."""
    for n in range(0, DOCUMENTS, DOCUMENTS // number):
        hits = await gateway.search(VECTORS[n], k=5)
        assert hits[0] == f"d{n}"
        similar = [float(VECTORS[int(hit[1:])] @ VECTORS[n]) for hit in hits]
        assert similar == sorted(similar, reverse=True)


# --- full, read-only, failing ---


async def write_until_refused(gateway: Caller, name: str) -> tuple[list[str], str]:
    """Ids that were acknowledged, and the code of the first refusal."""
    done: list[str] = []
    for n in range(10_000):
        try:
            await gateway.put([f"{name}{n}"], VECTORS[:1], text="x" * 20_000)
        except WireError as error:
            return done, error.code
        done.append(f"{name}{n}")
    return done, "none"


async def test_a_full_volume_keeps_what_was_acknowledged_through_a_kill_and_takes_writes_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_volume(96) as volume, shard_on(volume, tmp_path) as shard:
        shard.open()
        filler = fill(volume)
        async with calling(shard) as gateway:
            done, code = await write_until_refused(gateway, "a")
            assert code == "volume_full"
            assert await gateway.search(VECTORS[0], k=1) == ([done[0]] if done else [])
        shard.end(signal.SIGKILL)
        filler.unlink()
        shard.start()
        shard.await_ready()
        async with calling(shard) as gateway:
            assert None not in await gateway.get(done)
            await gateway.put(["after"], VECTORS[1:2], text="t")
        assert shard.info().fault is None


async def test_a_shard_that_starts_on_a_full_volume_says_so_or_serves(tmp_path: Path) -> None:
    with small_volume(96) as volume, shard_on(volume, tmp_path) as shard:
        shard.open()
        async with calling(shard) as gateway:
            await gateway.put(["a"], VECTORS[:1], text="t")
        shard.end(signal.SIGKILL)
        filler = fill(volume)
        shard.start()
        until(lambda: shard.is_ready() or _ended(shard), "it serves or ends")
        if _ended(shard):
            assert "full" in Path(shard.settings.termination_path).read_text()
        else:
            async with calling(shard) as gateway:
                assert (await gateway.get(["a"]))[0][1] == "a"
        shard.stop()
        filler.unlink()
        shard.start()
        shard.await_ready()
        async with calling(shard) as gateway:
            assert (await gateway.get(["a"]))[0][1] == "a"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_read_only_volume_is_named_as_the_reason(tmp_path: Path, number: signal.Signals) -> None:
    with small_volume(96) as volume, shard_on(volume, tmp_path) as shard:
        shard.open()
        async with calling(shard) as gateway:
            await gateway.put(["a"], VECTORS[:1], text="t")
        shard.end(number)
        remount(volume, "ro")
        shard.start()
        until(lambda: shard.is_ready() or _ended(shard), "it serves or ends")
        if _ended(shard):
            assert any("the volume cannot be written" in line["message"] for line in shard.log), shard.log
        else:
            async with calling(shard) as gateway:
                assert (await gateway.get(["a"]))[0][1] == "a"
                with pytest.raises(WireError) as refused:
                    await gateway.put(["b"], VECTORS[:1], text="t")
                assert refused.value.code == "read_only"
        shard.stop()
        remount(volume, "rw")
        shard.start()
        shard.await_ready()
        async with calling(shard) as gateway:
            assert (await gateway.get(["a"]))[0][1] == "a"


async def test_a_disk_that_fails_under_way_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    with shard_on(tmp_path / "data", tmp_path) as shard:
        shard.open()
        assert shard.process is not None
        async with calling(shard) as gateway:
            await gateway.put(["first"], VECTORS[:1], text="t")
            largest = max(path.stat().st_size for path in (tmp_path / "data").glob("store.sqlite*"))
            resource.prlimit(shard.process.pid, resource.RLIMIT_FSIZE, (largest + 200_000, resource.RLIM_INFINITY))
            done, code = await write_until_refused(gateway, "a")
            assert code in ("read_only", "volume_full")
            assert (await gateway.get(["first"]))[0][1] == "first"
            assert None not in await gateway.get(done)
            assert shard.info().fault == code
            resource.prlimit(shard.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await gateway.put(["after"], VECTORS[1:2], text="t")
            assert shard.info().fault is None
        shard.end(signal.SIGKILL)
        shard.start()
        shard.await_ready()
        async with calling(shard) as gateway:
            assert None not in await gateway.get([*done, "first", "after"])


# --- changed ---

Damage = Callable[[Path, random.Random], None]


def flipped(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncated(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def removed(path: Path, draw: random.Random) -> None:
    path.unlink()


async def test_whatever_changes_in_the_cache_the_answers_are_right(tmp_path: Path, draw: random.Random) -> None:
    options = {"type": "IVFFlat", "lists": 16}
    with shard_on(tmp_path / "data", tmp_path, index_options=options) as shard:
        shard.open()
        await load(shard)
        until(lambda: _built(shard), "the index is built", shard)
        shard.end(signal.SIGTERM)
        cache, good = tmp_path / "data" / "cache", tmp_path / "good"
        shutil.copytree(cache, good)
        files = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file() and path.stat().st_size)
        assert len(files) >= 2
        ways: tuple[Damage, ...] = (flipped, truncated, removed)
        for file in files:
            for way in ways if LONG else (draw.choice(ways),):
                shutil.rmtree(cache)
                shutil.copytree(good, cache)
                way(cache / file, draw)
                print(f"{file} {way.__name__}")
                shard.start()
                shard.await_ready()
                async with calling(shard) as gateway:
                    await answers_rightly(gateway)
                shard.stop()


@pytest.mark.parametrize("after", [signal.SIGTERM, signal.SIGKILL])
async def test_a_truncated_store_serves_nothing_and_says_how_to_restore(
    tmp_path: Path, draw: random.Random, after: signal.Signals
) -> None:
    with shard_on(tmp_path / "data", tmp_path) as shard:
        shard.open()
        await load(shard)
        shard.end(signal.SIGTERM)
        store, good = tmp_path / "data" / "store.sqlite", tmp_path / "good"
        shutil.copy(store, good)
        for share in (0.3, 0.99) if not LONG else (0.01, 0.3, 0.6, 0.9, 0.99):
            shutil.copy(good, store)
            os.truncate(store, int(store.stat().st_size * share) // 8192 * 8192 + draw.choice((0, 512, 4096)))
            shard.start()
            until(lambda: shard.info().fault == "corrupt", "the damage is found", shard)
            info = shard.info()
            assert not info.ready
            assert "restore" in (info.message or "")
            shard.end(after)


async def test_damage_that_is_met_while_serving_is_answered_as_such_and_ends_service(tmp_path: Path) -> None:
    with shard_on(tmp_path / "data", tmp_path) as shard:
        shard.open()
        await load(shard)
        shard.end(signal.SIGTERM)
        shard.start()
        shard.await_ready()
        store = tmp_path / "data" / "store.sqlite"
        with store.open("r+b") as file:
            for page in range(2, store.stat().st_size // 8192):
                file.seek(page * 8192)
                file.write(b"\xff" * 64)
        met = "none"
        async with calling(shard) as gateway:
            for n in range(0, DOCUMENTS, 50):
                try:
                    (found,) = await gateway.get([f"d{n}"])
                except WireError as error:
                    met = error.code
                    break
                assert found is not None
                assert found[3] == "text"
            assert met == "corrupt"
        assert shard.info().fault == "corrupt"
        assert not shard.is_ready()


def _built(shard: ShardProcess) -> bool:
    index = shard.info().index
    return index is not None and index.type == "IVFFlat" and index.building is None and index.covered > 0


def _ended(shard: ShardProcess) -> bool:
    return shard.process is not None and shard.process.poll() is not None
