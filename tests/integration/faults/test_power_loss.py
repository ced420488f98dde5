"""The power goes off at any write or sync, and what was acknowledged is there when it comes back."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_serving.shard.store.records import StoreError
from faults import recording
from faults.disk import Disk
from faults.lives import Life, Tuning, document_ids, examine, opened
from faults.memory import made
from faults.promises import Promises

LONG = os.environ.get("FAULTS") == "long"
CHAINS = 250 if LONG else 20
LIVES = 3
CUTS = 8
LOSSES_WITHIN_CHAINS = 5
OPERATIONS_EACH = 6


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory whose syncs cost nothing: what a sync means here is up to the recording."""
    directory = made()
    yield directory
    shutil.rmtree(directory)


async def chain(seed: int, memory: Path, synchronous: str = "FULL") -> int:
    """Lives one after the other, each from what the power cut of the last has left. Answers the cuts that were looked at."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    recorder = recording.load()
    promises = Promises(dict.fromkeys(document_ids()))
    here = memory / str(seed)
    start = here / "start"
    start.mkdir(parents=True)
    looked_at = 0
    for number in range(LIVES):
        tuning = Tuning.drawn(draw, synchronous)
        work = here / f"life-{number}"
        shutil.copytree(start, work)
        disk = Disk(work)
        with recorder.recording(work, here / "log"):
            await Life(work, recorder, draw, tuning, promises, f"{seed}.{number}").run(OPERATIONS_EACH)
        records = recording.read(here / "log")
        cuts = sorted(draw.sample(range(1, len(records) + 1), CUTS))
        for at, record in enumerate(records, 1):
            disk.apply(record)
            if at in cuts:
                start = here / f"left-{number}-{at}"
                disk.survivor(draw, start)
                next_promises = await examine(start, promises.until(at), tuning)
                looked_at += 1
        promises = next_promises
        shutil.rmtree(work)
    shutil.rmtree(here)
    return looked_at


async def test_nothing_acknowledged_is_lost_in_a_power_cut(memory: Path) -> None:
    first = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    cuts = sum([await chain(first + number, memory) for number in range(CHAINS)])
    print(f"{cuts} power cuts from seed {first}")
    assert cuts == CHAINS * LIVES * CUTS


def test_a_volume_that_was_being_made_can_be_opened(memory: Path) -> None:
    """At every record of the first start: it is empty, or whole."""
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    draw = random.Random(seed)
    tuning = Tuning.drawn(draw)
    work = memory / "work"
    work.mkdir()
    disk = Disk(work)
    with recording.load().recording(work, memory / "log"):
        opened(work / "writer", tuning).close()
    for at, record in enumerate(recording.read(memory / "log"), 1):
        disk.apply(record)
        for number in range(3):
            left = memory / f"left-{at}-{number}"
            disk.survivor(draw, left)
            opened(left / "writer", tuning).close()


async def test_without_syncs_a_loss_is_found(memory: Path) -> None:
    first = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    for seed in range(first, first + LOSSES_WITHIN_CHAINS):
        try:
            await chain(seed, memory, synchronous="OFF")
        except (AssertionError, StoreError) as error:
            print(f"seed {seed} lost: {error!r}"[:300])
            return
    pytest.fail(f"{LOSSES_WITHIN_CHAINS} chains from seed {first} lost nothing without syncs: the harness is blind")
