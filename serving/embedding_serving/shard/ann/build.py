"""`python -m embedding_serving.shard.ann.build`: makes an engine, or the vectors file anew, beside a serving process.

Runs at the lowest priority; reads a Job as one line from stdin and the vectors by mapping; writes files by other names
than those in use; answers with a Result on stdout. When stdin ends the one who asked is gone, and so is this process.
"""

import os
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
from pydantic import Field

from ...contract.index import Distance, IndexOptions, IndexType
from ...contract.model import Frozen
from .arrays import Mask, Rows, Slots, Vectors
from .calibration import QUERIES, RANKS, Sample, Trial, calibrate, goal_of, sample_truth
from .engines import EngineSpec, make, training_rows
from .files import EngineFiles, FileStamp, stamp, write_durably
from .slots import rows_name, vectors_name

ADD_ROWS = 16_384
TAIL_SAMPLE_ROWS = 100_000
MIN_RECENT_QUERIES = 32
ORPHANED = 75


class Job(Frozen):
    """What to build of the slots [0, count) of the vectors file `number`. Files are in `directory`.

    dead: file of the dead slots (int64); queries: file of recent queries (float32). compact_to: number of a new vectors
    file with the living slots alone, which the engine then is of. spec None: only that.
    """

    directory: str
    number: int
    token: int
    dimensions: int = Field(ge=1)
    distance: Distance
    count: int = Field(ge=1)
    options: IndexOptions
    spec: EngineSpec | None = None
    dead: str | None = None
    queries: str | None = None
    compact_to: int | None = None
    threads: int = Field(default=1, ge=1)


class Result(Frozen):
    """The files that were made. `count`: slots of the vectors file that they are of, `vectors` and `rows` if it is new."""

    count: int
    vectors: FileStamp | None = None
    rows: FileStamp | None = None
    engine: EngineFiles | None = None


def main_name(token: int) -> str:
    return f"main-{token:08d}.faiss"


def tail_name(token: int) -> str:
    return f"tail-{token:08d}.faiss"


def build(job: Job) -> Result:
    """Raises OSError (a full disk) and MemoryError."""
    directory = Path(job.directory)
    faiss.omp_set_num_threads(job.threads)
    vectors = _map_vectors(directory / vectors_name(job.number), job.count, job.dimensions)
    alive = np.ones(job.count, dtype=np.bool_)
    if job.dead:
        alive[np.fromfile(directory / job.dead, dtype="<i8")] = False
    stamps: tuple[FileStamp | None, FileStamp | None] = None, None
    if job.compact_to is not None:
        stamps = _compact(job, job.compact_to, vectors, np.flatnonzero(alive))
        alive = np.ones(int(alive.sum()), dtype=np.bool_)
        vectors = _map_vectors(directory / vectors_name(job.compact_to), len(alive), job.dimensions)
    engine = _build_engine(job, job.spec, vectors, alive) if job.spec and len(alive) else None
    return Result(count=len(alive), vectors=stamps[0], rows=stamps[1], engine=engine)


def _build_engine(job: Job, spec: EngineSpec, vectors: Vectors, alive: Mask) -> EngineFiles:
    directory = Path(job.directory)
    random = np.random.default_rng(job.token)
    living = np.flatnonzero(alive)
    engine = make(spec, job.dimensions, job.distance, len(vectors))
    sample = vectors[_choose(random, living, training_rows(spec, len(vectors)))]
    engine.train(sample)
    for start in range(0, len(vectors), ADD_ROWS):
        engine.add(vectors[start : start + ADD_ROWS])
    samples = _samples(job, vectors, alive, random)
    goal = goal_of(job.options.target_recall_percent)
    depths = calibrate(Trial(engine, spec, vectors, alive, job.distance), samples, goal)
    write_durably(directory / main_name(job.token), engine.save)
    codes = EngineSpec(type=IndexType.PQ_FAST_SCAN, subquantizers=spec.subquantizers)
    if spec.type is IndexType.PQ_FAST_SCAN:
        tail, tail_depths = engine, depths
    else:
        tail = make(codes, job.dimensions, job.distance, len(vectors))
        tail.train(sample)
        part = min(len(vectors), TAIL_SAMPLE_ROWS)
        tail.add(vectors[:part])
        part_samples = _samples(job, vectors[:part], alive[:part], random)
        tail_depths = calibrate(Trial(tail, codes, vectors[:part], alive[:part], job.distance), part_samples, goal)
    write_durably(directory / tail_name(job.token), tail.appendable().save)
    return EngineFiles(
        spec=spec,
        options=job.options,
        count=len(vectors),
        main=stamp(directory / main_name(job.token)),
        tail=stamp(directory / tail_name(job.token)),
        depths=depths,
        tail_depths=tail_depths,
    )


def _samples(job: Job, vectors: Vectors, alive: Mask, random: np.random.Generator) -> list[Sample]:
    """Documents as queries, and recent queries where there are enough: these may lie farther from everything."""
    own = _choose(random, np.flatnonzero(alive), QUERIES[RANKS[0]])
    random.shuffle(own)
    samples = [sample_truth(vectors, alive, vectors[own], own, job.distance)]
    if job.queries:
        recent = np.fromfile(Path(job.directory) / job.queries, dtype="<f4").reshape(-1, job.dimensions)
        if len(recent) >= MIN_RECENT_QUERIES:
            samples.append(sample_truth(vectors, alive, recent, np.full(len(recent), -1, dtype=np.int64), job.distance))
    return samples


def _compact(job: Job, number: int, vectors: Vectors, living: Slots) -> tuple[FileStamp, FileStamp]:
    directory = Path(job.directory)
    rows: Rows = np.fromfile(directory / rows_name(job.number), dtype="<i8", count=job.count)

    def write_vectors(path: Path) -> None:
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(living), ADD_ROWS):
                data = vectors[living[start : start + ADD_ROWS]].data.cast("B")
                while data:
                    data = data[file.write(data) :]

    write_durably(directory / vectors_name(number), write_vectors)
    write_durably(directory / rows_name(number), lambda path: rows[living].tofile(path))
    return stamp(directory / vectors_name(number)), stamp(directory / rows_name(number))


def _map_vectors(path: Path, count: int, dimensions: int) -> Vectors:
    if not count:
        return np.empty((0, dimensions), dtype=np.float32)
    return np.memmap(path, dtype=np.float32, mode="r", shape=(count, dimensions)).view(np.ndarray)


def _choose(random: np.random.Generator, slots: Slots, most: int) -> Slots:
    """Ascending, so that they are read in the order of the file."""
    return slots if len(slots) <= most else np.sort(random.choice(slots, most, replace=False))


def _end_with_parent() -> None:
    """stdin is a pipe that nobody writes to again: its end is the end of the one who asked, however that came."""
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


def main() -> int:
    os.nice(19)
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 65_536)
        if not data:
            return ORPHANED
        line += data
    threading.Thread(target=_end_with_parent, daemon=True).start()
    result = build(Job.model_validate_json(line))
    sys.stdout.write(result.model_dump_json() + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
