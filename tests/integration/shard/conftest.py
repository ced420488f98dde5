from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .shard_process import Operator, ShardProcess, shard_settings

MakeShard = Callable[..., ShardProcess]


@pytest.fixture(scope="session")
def operator() -> Operator:
    return Operator()


@pytest.fixture
def make_shard(operator: Operator, tmp_path: Path) -> Iterator[MakeShard]:
    """Starts pods; those of one number share a directory."""
    made: list[ShardProcess] = []

    def make(pod: int = 0, data_dir: Path | None = None, name: str | None = None, **changes: Any) -> ShardProcess:
        settings = shard_settings(data_dir or tmp_path / f"data-{pod}", operator, pod=pod, **changes)
        if name is not None:
            settings = settings.model_copy(update={"pod": name})
        work = tmp_path / f"work-{len(made)}"
        work.mkdir()
        shard = ShardProcess(settings, operator, work)
        made.append(shard)
        shard.start()
        return shard

    yield make
    for shard in made:
        shard.stop()


@pytest.fixture
def shard(make_shard: MakeShard) -> ShardProcess:
    """A lone writer that the operator has opened at epoch 1."""
    return make_shard().open()
