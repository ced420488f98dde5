"""SIGKILL of the process, of its build, or of both: what is left is intact or made again, and nothing runs on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexOptions, IndexType
from embedding_serving.shard.ann.build import Job
from embedding_serving.shard.ann.engines import EngineSpec
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.shard.ann.process import MODULE, BuildProcess

from .conftest import SMALL, MemoryStore, Open, built, clustered, same, wait_until
from .writing import history

SEED = int(os.environ.get("TEST_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
TESTS = Path(__file__).parents[2]
KILLS = 4


def _python(*arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS / "unit"), *sys.path])}
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def _builds_of(parent: int) -> list[int]:
    """Process ids of the builds that a process has started and that still run."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    return [pid for pid in pids if _runs_build(pid)]


def _runs_build(pid: int) -> bool:
    try:
        return MODULE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_process_leaves_what_the_next_can_use_or_make_again(tmp_path: Path) -> None:
    print("seed", SEED)
    random = np.random.default_rng(SEED)
    for kill in range(KILLS):
        directory = tmp_path / str(kill)
        with _python("-m", "ann.writing", str(directory), str(kill)) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            time.sleep(float(random.uniform(0, 1.2)))  # The moment of the kill, which is the point of the test.
            writer.kill()
        store = MemoryStore()
        history(kill, store)
        index = VectorIndex(directory, store.dimensions, Distance.EUCLIDEAN, IndexOptions(), store, limits=SMALL)
        index.load()
        for _ in range(10):
            same(store, index, clustered(random, 1)[0], 10, Distance.EUCLIDEAN)
        index.close()


def test_a_killed_build_is_told_of_and_tried_again(open_index: Open) -> None:
    store = MemoryStore()
    store.commit(clustered(np.random.default_rng(1), 400), [])
    index = open_index(store)
    wait_until(lambda: _builds_of(os.getpid()), "a build starts")
    os.kill(_builds_of(os.getpid())[0], signal.SIGKILL)
    wait_until(lambda: "signal 9" in (index.state().building or ""), "the state tells of it")
    wait_until(lambda: built(index), "it is tried again")


def test_a_build_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ann.test_killed import long_build\n"
        "process = long_build(Path(sys.argv[1])); print(process.pid, flush=True); sys.stdin.read()"
    )
    with _python("-c", script, str(tmp_path)) as parent:
        assert parent.stdout is not None
        build = int(parent.stdout.readline())
        wait_until(lambda: _runs_build(build), "the build runs")
        parent.kill()
    wait_until(lambda: not _runs_build(build), "the orphan ends")


def long_build(directory: Path) -> BuildProcess:
    """A build of some minutes."""
    count, dimensions = 300_000, 32
    vectors = np.random.default_rng(0).standard_normal((count, dimensions), dtype=np.float32)
    vectors.tofile(directory / "vectors-00000001.f32")
    np.arange(count, dtype=np.int64).tofile(directory / "rows-00000001.i64")
    options = IndexOptions(type=IndexType.HNSW)
    job = Job(
        directory=str(directory),
        number=1,
        token=2,
        dimensions=dimensions,
        distance=Distance.EUCLIDEAN,
        count=count,
        options=options,
        spec=EngineSpec.of(IndexType.HNSW, options),
    )
    return BuildProcess(job)


def test_a_closed_index_leaves_no_build_behind(open_index: Open) -> None:
    store = MemoryStore()
    store.commit(clustered(np.random.default_rng(1), 400), [])
    index = open_index(store)
    wait_until(lambda: _builds_of(os.getpid()), "a build starts")
    index.close()
    assert not _builds_of(os.getpid())


@pytest.mark.parametrize("where", ["at the start", "later"])
def test_an_index_serves_from_memory_where_the_disk_is_full(where: str) -> None:
    """A limit on the size of files stands for the disk: the system calls fail alike."""
    script = f"""
import resource, tempfile
from pathlib import Path
import numpy as np
from ann.conftest import SMALL, MemoryStore, clustered, same
from embedding_serving.contract.index import Distance, IndexOptions
from embedding_serving.shard.ann.index import VectorIndex

random, store = np.random.default_rng(3), MemoryStore()
with tempfile.TemporaryDirectory() as directory:
    if {where == "at the start"}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    index = VectorIndex(Path(directory), store.dimensions, Distance.EUCLIDEAN, IndexOptions(), store, limits=SMALL)
    index.load()
    index.apply(*store.commit(clustered(random, 50), []))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for _ in range(20):
        index.apply(*store.commit(clustered(random, 50), list(store.live)[:9]))
        same(store, index, clustered(random, 1)[0], 10, Distance.EUCLIDEAN)
    assert "can't be written" in index.state().building, index.state()
    index.close()
print("served")
"""
    with _python("-c", script) as process:
        assert process.communicate()[0] == "served\n"
