"""A generation made from another by real shards and real encoders, the test in the operator's place."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.admin import Mode
from fixtures.models import derived_minilm
from integration.embed import server as embed

from .conftest import MakeShard
from .rebuild import Generation, Model, await_caught_up, follow, generation, hand_over


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    work = tmp_path_factory.mktemp("old")
    prepared = embed.prepare(derived_minilm(work / "model", layers=2), work / "weights")
    with embed.serving(prepared, work) as server:
        yield Model(prepared, server)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    work = tmp_path_factory.mktemp("new")
    prepared = embed.prepare(derived_minilm(work / "model", layers=1), work / "weights")
    with embed.serving(prepared, work) as server:
        yield Model(prepared, server)


@pytest.fixture
def blue(make_shard: MakeShard, tmp_path: Path, old: Model) -> Generation:
    """Open at epoch 1."""
    made = generation(make_shard, tmp_path, 1, old)
    for pod in made.pods:
        pod.open()
    return made


def documents(number: int) -> dict[str, str]:
    return {f"d{n:04}": f"document number {n} is about {'cats' if n % 2 else 'dogs'}" for n in range(number)}


def same_direction(one: bytes, other: bytes) -> bool:
    return np.allclose(np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4"), atol=1e-6)


async def test_a_generation_of_another_model_is_built_and_takes_over_with_every_change(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(300))
    green = generation(make_shard, tmp_path, 2, new)
    follow(green, blue, epoch=1)
    await blue.write({"id": "d0001", "text": "changed meanwhile"}, {"id": "d0002", "op": "delete"})
    await_caught_up(green)
    assert green.digest == blue.digest
    assert green.infos[0].build is not None
    assert green.infos[0].build.rows >= 299
    hand_over(blue, green, epoch=2, rebuild_id="r1")
    assert green.infos[0].mode is Mode.OPEN
    assert await green.texts(["d0000", "d0001", "d0002"]) == {
        "d0000": documents(1)["d0000"],
        "d0001": "changed meanwhile",
        "d0002": None,
    }
    assert same_direction(await green.vector("d0001"), new.embed(["changed meanwhile"]))
