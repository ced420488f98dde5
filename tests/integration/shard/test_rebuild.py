"""A generation made from another by real shards and real encoders, the test in the operator's place."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_serving.contract.admin import Mode
from embedding_serving.shard.embedding import PIECE_ROWS, WINDOW_PIECES
from embedding_serving.wire.errors import WireError
from fixtures.models import derived_minilm
from integration.embed import server as embed

from .conftest import MakeShard
from .rebuild import Generation, Model, await_caught_up, follow, generation, hand_over, moved_to, tell
from .shard_process import calling, until


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


@dataclass
class Away:
    """An encoder's address that nobody answers at."""

    url: str = "http://127.0.0.1:1"

    def metric(self, name: str) -> float:
        raise AssertionError(f"nobody tells of {name}")


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
    assert green.infos[0].build.tokens > 299, "a token a text at least"
    hand_over(blue, green, epoch=2, rebuild_id="r1")
    assert green.infos[0].mode is Mode.OPEN
    assert await green.texts(["d0000", "d0001", "d0002"]) == {
        "d0000": documents(1)["d0000"],
        "d0001": "changed meanwhile",
        "d0002": None,
    }
    assert same_direction(await green.vector("d0001"), new.embed(["changed meanwhile"]))


async def test_two_shards_become_three_with_the_vectors_they_have_and_answer_a_repeated_request(
    make_shard: MakeShard, tmp_path: Path, old: Model
) -> None:
    blue = generation(make_shard, tmp_path, 1, old, shards=2)
    for pod in blue.pods:
        pod.open()
    wanted = documents(120)
    await blue.put(wanted)
    request = {"request_id": "same", "issued_at": time.time_ns() // 1_000_000}
    changes = [{"id": f"d{n:04}", "text": "of one request"} for n in range(40)]
    first = await blue.write(*changes, **request)
    green = generation(make_shard, tmp_path, 2, old, shards=3)
    follow(green, blue, epoch=1)
    await_caught_up(green)
    assert sum(info.documents for info in green.infos) == 120
    assert all(info.build is None for info in green.infos)
    await blue.write({"id": "d0000", "text": "later"})
    begins = hand_over(blue, green, epoch=2, rebuild_id="r1")
    assert await green.write(*changes, **request) == first
    assert await green.texts(["d0000", "d0001", "d0119"]) == {
        "d0000": "later",
        "d0001": "of one request",
        "d0119": wanted["d0119"],
    }
    await green.write({"id": "d0003", "op": "delete"}, {"id": "new", "text": "of green"})
    follow(blue, green, epoch=2, leases=begins, nonce="r1")
    await_caught_up(blue)
    assert blue.digest == green.digest
    hand_over(green, blue, epoch=3, rebuild_id="r2")
    assert await blue.texts(["d0003", "new"]) == {"d0003": None, "new": "of green"}


async def test_a_build_that_is_killed_goes_on_and_embeds_at_most_one_page_again(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(600))
    green = generation(make_shard, tmp_path, 2, new)
    pod = green.pods[0]
    asked = new.server.metric("embedding_texts_total")
    follow(green, blue, epoch=1)
    tell(pod, "pace", 1, rows_per_second=400)
    until(lambda: pod.info().documents > 100, "a part is built", pod)
    pod.end(signal.SIGKILL)
    pod.start()
    pod.await_ready()
    assert pod.info().documents > 100
    await_caught_up(green)
    assert green.digest == blue.digest
    assert new.server.metric("embedding_texts_total") - asked <= 600 + PIECE_ROWS * WINDOW_PIECES


@pytest.fixture
async def given_up(make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model) -> Generation:
    """It has embedded a part of 600 documents when another number of shards is asked for, and stands still."""
    await blue.put(documents(600))
    made = generation(make_shard, tmp_path, 2, new, shards=2)
    for pod in made.pods:
        tell(pod, "pace", 1, rows_per_second=100)
    follow(made, blue, epoch=1)
    until(lambda: held(made) >= 200, "a part is embedded")
    for pod in made.pods:
        tell(pod, "follow", 1, sources=[])
    assert 200 <= held(made) < 500
    return made


def held(made: Generation) -> int:
    return sum(info.documents for info in made.infos)


def counted(made: Generation) -> tuple[int, int]:
    """Rows that were embedded, and those whose vector a donor had."""
    builds = [info.build for info in made.infos if info.build]
    return sum(build.rows for build in builds), sum(build.reused for build in builds)


async def vectors(made: Generation, ids: list[str]) -> list[bytes]:
    return [await made.vector(id_, canary=True) for id_ in ids]


async def test_a_rebuild_that_begins_anew_embeds_only_what_the_one_before_had_not(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, given_up: Generation, new: Model
) -> None:
    part = held(given_up)
    had = [id_ for id_ in documents(20) if await embedded_by(given_up, id_)][:2]
    await blue.write({"id": had[0], "text": "changed since"}, {"id": had[1], "text": documents(600)[had[1]], "metadata": "{}"})
    asked = new.server.metric("embedding_texts_total")
    green = generation(make_shard, tmp_path, 3, new, shards=3)
    follow(green, blue, epoch=1, donor=given_up)
    await_caught_up(green)
    assert green.digest == blue.digest
    assert counted(green) == (600 - part + 1, part - 1), "one text is another one now"
    assert new.server.metric("embedding_texts_total") - asked == 600 - part + 1
    changed, same = await vectors(green, had)
    assert same_direction(changed, new.embed(["changed since"]))
    assert same == await given_up.vector(had[1], canary=True)
    assert [held(given_up), *(info.sources for info in given_up.infos)] == [part, (), ()], "it took nothing more"


async def embedded_by(made: Generation, id_: str) -> bool:
    return (await made.texts([id_], canary=True))[id_] is not None


async def test_a_donor_that_dies_meanwhile_costs_no_more_than_embedding_what_it_had(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, given_up: Generation, new: Model
) -> None:
    green = generation(make_shard, tmp_path, 3, new)
    tell(green.pods[0], "pace", 1, rows_per_second=0)
    given_up.pods[0].end(signal.SIGKILL)
    follow(green, blue, epoch=1, donor=given_up)
    until(lambda: counted(green)[1] > 0, "what is left of the donor gives what it has")
    given_up.pods[1].end(signal.SIGKILL)
    await blue.put({f"late{n}": "written later" for n in range(50)})
    tell(green.pods[0], "pace", 1, rows_per_second=None)
    await_caught_up(green)
    assert green.digest == blue.digest
    rows, reused = counted(green)
    assert rows + reused == 650
    follow(green, blue, epoch=1)
    assert not any(source.donors for info in green.infos for source in info.sources)
    await_caught_up(green)


async def test_a_text_that_the_model_refuses_is_kept_without_a_vector_and_named(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(100))
    await blue.write({"id": "poison", "text": "", "failure": "of the old model"})
    green = generation(make_shard, tmp_path, 2, new)
    follow(green, blue, epoch=1)
    await_caught_up(green)
    assert green.infos[0].failed_documents == 1
    assert "empty" in green.failed["poison"]
    pod = green.pods[0]
    pod.end(signal.SIGKILL)
    pod.start()
    pod.await_ready()
    assert "empty" in green.failed["poison"]
    hand_over(blue, green, epoch=2, rebuild_id="r1")
    assert await green.texts(["poison"]) == {"poison": ""}


async def test_an_encoder_that_is_away_or_of_another_space_is_waited_for(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, old: Model, new: Model
) -> None:
    await blue.put(documents(50))
    green = generation(make_shard, tmp_path, 2, new)
    pod = green.pods[0]

    def message() -> str:
        build = pod.info().build
        return (build.message or "") if build else ""

    nowhere = Generation(2, Model(new.prepared, Away()), green.pods)
    follow(nowhere, blue, epoch=1)
    until(lambda: "no encoder" in message(), "it says that nobody answers", pod)
    follow(Generation(2, Model(new.prepared, old.server), green.pods), blue, epoch=1)
    until(lambda: old.prepared.fingerprint in message(), "it says that the vectors are of another space", pod)
    info = pod.info()
    assert (info.documents, info.sources[0].cursor) == (0, 0)
    assert info.sources[0].behind == blue.infos[0].position
    follow(green, blue, epoch=1)
    await_caught_up(green)
    assert green.digest == blue.digest
    assert not message()


async def test_a_pause_holds_the_build_at_once_and_a_pace_bounds_it(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(300))
    green = generation(make_shard, tmp_path, 2, new)
    pod = green.pods[0]
    tell(pod, "pace", 1, rows_per_second=0)
    follow(green, blue, epoch=1)
    until(lambda: pod.info().sources[0].behind is not None, "it reads", pod)
    build = pod.info().build
    assert build is not None
    assert (build.pace, build.rows, build.message) == (0, 0, "told to pause")
    before = time.monotonic()
    tell(pod, "pace", 1, rows_per_second=50)
    until(lambda: pod.info().documents >= 100, "a part is built", pod)
    assert time.monotonic() - before >= 1.5
    stale = pod.tell("pace", epoch=1, history="another", rows_per_second=None)
    assert stale.json()["code"] == "wrong_history"
    tell(pod, "pace", 1, rows_per_second=None)
    await_caught_up(green)
    assert green.digest == blue.digest


async def test_a_frozen_shard_takes_nothing_more_and_is_seen_to_be_closed(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(20))
    green = generation(make_shard, tmp_path, 2, new)
    follow(green, blue, epoch=1)
    await_caught_up(green)
    (source,), pod = green.infos[0].sources, green.pods[0]
    wanted = [{"shard": 0, "history": source.history, "position": source.cursor}]
    frozen = tell(pod, "prepare", 1, sources=wanted, rebuild_id="r1")
    info = pod.info()
    assert (info.prepared, info.prepared_at, info.mode) == (1, frozen["position"], Mode.CLOSED)
    await blue.write({"id": "late", "text": "after prepare"})
    with pytest.raises(WireError, match="closed"):
        await green.texts(["d0001"], e=0)
    assert (await green.texts(["d0001", "late"], e=0, canary=True))["late"] is None
    assert (await green.texts(["d0001", "late"], e=1))["late"] is None, "who has the route of the switch is answered"
    assert pod.info().position == frozen["position"]
    assert pod.info().sources[0].cursor == source.cursor
    follow(green, blue, epoch=2)
    until(lambda: pod.info().documents == 21, "it goes on at a higher epoch", pod)
    assert pod.info().prepared is None


async def test_what_was_left_follows_with_its_own_model_and_takes_over_again(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(60))
    green = generation(make_shard, tmp_path, 2, new)
    follow(green, blue, epoch=1)
    await_caught_up(green)
    begins = hand_over(blue, green, epoch=2, rebuild_id="r1")
    await green.write({"id": "d0001", "text": "written to green"}, {"id": "d0002", "op": "delete"})
    follow(blue, green, epoch=2, leases=begins, nonce="r1")
    await_caught_up(blue)
    leases = {one.consumer: one.position for one in green.infos[0].followers}
    assert leases["reverse-0"] >= min(begins.values())
    assert blue.digest == green.digest
    embedded = blue.infos[0].build
    assert embedded is not None
    assert embedded.rows == 1
    with pytest.raises(WireError, match="moved"):
        await blue.texts(["d0001"])
    hand_over(green, blue, epoch=3, rebuild_id="r2")
    assert await blue.texts(["d0001", "d0002"]) == {"d0001": "written to green", "d0002": None}
    assert same_direction(await blue.vector("d0001"), blue.model.embed(["written to green"]))
    assert blue.infos[0].opened_at == 3


async def test_a_shard_that_lost_its_volume_reads_again_from_the_beginning_under_the_lease_of_the_way_back(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(30))
    green = generation(make_shard, tmp_path, 2, new)
    follow(green, blue, epoch=1)
    await_caught_up(green)
    begins = hand_over(blue, green, epoch=2, rebuild_id="r1")
    pod = blue.pods[0]
    pod.end(signal.SIGKILL)
    shutil.rmtree(pod.settings.data_dir)
    Path(pod.settings.data_dir).mkdir()
    pod.start()
    pod.await_ready()
    for _ in range(2):
        follow(blue, green, epoch=2, leases=dict.fromkeys(begins, 0), nonce="r1")
        await_caught_up(blue)
    assert blue.digest == green.digest
    assert [one.consumer for one in green.infos[0].followers] == ["reverse-0"]


async def test_a_retired_follower_answers_again_when_it_is_readmitted_and_copies_all_the_time(
    make_shard: MakeShard, tmp_path: Path, blue: Generation, new: Model
) -> None:
    await blue.put(documents(10))
    settings = blue.pods[0].settings
    copy = make_shard(
        pod=1, data_dir=tmp_path / "copy", name=settings.pod[:-1] + "1", writer=blue.pods[0].host,
        fingerprint=settings.fingerprint, dimensions=settings.dimensions,
    ).await_ready()  # fmt: skip
    green = generation(make_shard, tmp_path, 2, new)
    route = moved_to(green, blue, epoch=1)
    tell(copy, "retire", 1, route=route)
    pinned: dict[str, Any] = {"g": 1, "f": settings.fingerprint, "ids": ["d0001"]}
    async with calling(copy) as reader:
        with pytest.raises(WireError) as moved:
            await reader.call("get", **pinned)
        assert moved.value.code == "moved"
        assert moved.value.route == route
        await blue.write({"id": "late", "text": "late"})
        until(lambda: copy.info().documents == 11, "the retired copy goes on copying", copy)
        tell(copy, "readmit", 1)
        assert (await reader.call("get", **pinned)).head["documents"][0][1] == "d0001"
