"""Whatever happens to the files while the process is down: the answers are right, and the log says what was found."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexOptions, IndexType
from embedding_serving.shard.ann.index import VectorIndex

from .conftest import SMALL, MemoryStore, Open, built, clustered, same, wait_until

FILES = ("manifest.json", "vectors", "rows", "main", "tail")


def _one(directory: Path, kind: str) -> Path:
    (found,) = [path for path in directory.iterdir() if path.name.startswith(kind)]
    return found


def _flip_first(path: Path) -> None:
    _flip(path, 0.0)


def _flip_middle(path: Path) -> None:
    _flip(path, 0.5)


def _flip(path: Path, where: float) -> None:
    # The vectors file is sparse beyond what counts, which nothing reads.
    size = path.stat().st_size if path.suffix != ".f32" else _counted(path)
    with path.open("r+b") as file:
        file.seek(int(size * where))
        byte = file.read(1)[0]
        file.seek(int(size * where))
        file.write(bytes([byte ^ 0x10]))


def _counted(path: Path) -> int:
    return int(re.search(rb'"vectors":\{[^}]*"length":(\d+)', (path.parent / "manifest.json").read_bytes())[1])  # type: ignore[index]


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 if path.suffix != ".f32" else _counted(path) // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryStore]:
    """A directory as a clean end leaves it: main, tail, delta and dead rows; and its store, which went on afterwards."""
    random = np.random.default_rng(5)
    store = MemoryStore()
    store.commit(clustered(random, 300), [])
    directory = tmp_path_factory.mktemp("intact")
    index = VectorIndex(directory, store.dimensions, Distance.EUCLIDEAN, IndexOptions(), store, limits=SMALL)
    index.load()
    wait_until(lambda: built(index), "a build")
    for _ in range(10):
        index.apply(*store.commit(clustered(random, 7), list(store.live)[:3]))
    index.close()
    store.commit(clustered(random, 30), list(store.live)[100:110])
    return directory, store


@pytest.mark.parametrize("damage", [_flip_first, _flip_middle, _truncate, _empty, Path.unlink], ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_noticed_and_made_again(
    intact: tuple[Path, MemoryStore],
    tmp_path: Path,
    open_index: Open,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    damage: Callable[[Path], None],
) -> None:
    directory, store = intact
    _copy(directory, tmp_path / "cache")
    damage(_one(tmp_path / "cache", kind))
    with caplog.at_level(logging.ERROR):
        index = open_index(store)
    random = np.random.default_rng(6)
    for _ in range(5):
        same(store, index, clustered(random, 1)[0], 10, Distance.EUCLIDEAN)
    noticed = [record for record in caplog.records if "built anew" in record.getMessage()]
    # Without a manifest there is nothing to compare with: the cache is simply empty.
    assert len(noticed) == (0 if kind == "manifest.json" and damage is Path.unlink else 1)
    if kind not in ("manifest.json",):
        assert _one_name(directory, kind) in str(noticed[0].__dict__["found"])


def test_what_was_damaged_is_whole_after_the_next_start(
    intact: tuple[Path, MemoryStore], tmp_path: Path, open_index: Open, caplog: pytest.LogCaptureFixture
) -> None:
    directory, store = intact
    _copy(directory, tmp_path / "cache")
    _flip_middle(_one(tmp_path / "cache", "vectors"))
    _flip_middle(_one(tmp_path / "cache", "main"))
    index = open_index(store)
    wait_until(lambda: built(index), "the index is built again")
    index.close()
    caplog.clear()
    again = open_index(store)
    assert again.state().type == IndexType.PQ_FAST_SCAN
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_intact_snapshot_is_used_at_once_and_files_of_nobody_are_swept(
    intact: tuple[Path, MemoryStore], tmp_path: Path, open_index: Open, caplog: pytest.LogCaptureFixture
) -> None:
    directory, store = intact
    _copy(directory, tmp_path / "cache")
    (tmp_path / "cache" / "main-00000099.faiss.part").write_bytes(b"left by a killed build")
    with caplog.at_level(logging.INFO):
        index = open_index(store)
    assert index.state().type == IndexType.PQ_FAST_SCAN
    assert not caplog.records
    index.close()
    assert not (tmp_path / "cache" / "main-00000099.faiss.part").exists()


@pytest.mark.parametrize(
    "changed", [{"distance": Distance.DOT}, {"identity": "another history"}], ids=["another distance", "another store"]
)
def test_a_snapshot_of_something_else_is_not_used(
    intact: tuple[Path, MemoryStore],
    tmp_path: Path,
    open_index: Open,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, str],
) -> None:
    directory, store = intact
    _copy(directory, tmp_path / "cache")
    index = open_index(store, **changed)  # type: ignore[arg-type]
    assert "built anew" in caplog.text
    query = clustered(np.random.default_rng(8), 1)[0]
    same(store, index, query, 10, changed.get("distance", Distance.EUCLIDEAN))  # type: ignore[arg-type]


def test_rows_that_the_store_has_and_the_snapshot_lacks_make_it_worthless(
    intact: tuple[Path, MemoryStore], tmp_path: Path, open_index: Open, caplog: pytest.LogCaptureFixture
) -> None:
    directory, store = intact
    _copy(directory, tmp_path / "cache")
    other = MemoryStore()
    other.live = dict(store.live)
    other.next_row = store.next_row
    gap = next(row for row in range(301, store.next_row) if row not in store.live)
    other.live[gap] = np.zeros(store.dimensions, dtype=np.float32)
    index = open_index(other)
    assert "lacks rows" in caplog.text
    same(other, index, np.zeros(store.dimensions, dtype=np.float32), 10, Distance.EUCLIDEAN)


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def _one_name(directory: Path, kind: str) -> str:
    return _one(directory, kind).name
