"""The thread that keeps the cache in order: snapshots, and builds in a process of their own. It computes nothing itself."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...contract.index import Distance, IndexOptions
from .arrays import Rows, Vectors
from .build import Job, Result
from .cache import Cache
from .errors import AnnError, BuildFailedError
from .files import FORMAT, MANIFEST, EngineFiles, FileStamp, Manifest, checksum, names_in, sweep, write_manifest
from .limits import Limits
from .loading import load_engine
from .plan import Due, Facts, due
from .process import BuildProcess
from .recall import RecentQueries
from .slots import SlotFile, rows_name, vectors_name

CHECKSUM_ROWS = 4_096

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Covered:
    """How far the manifest goes, and the checksums up to there, which later rows only continue."""

    number: int
    count: int = 0
    vectors: int = 0
    rows: int = 0


@dataclass(slots=True)
class _Pace:
    """When the next build may start."""

    failures: int = 0
    message: str | None = None
    not_before: float = 0.0
    rest_until: float = 0.0


@dataclass(slots=True)
class Upkeep:
    """Owns the directory. Everything but `building` is called by its thread alone, or while that does not run."""

    directory: Path
    dimensions: int
    distance: Distance
    identity: str
    cache: Cache
    options: IndexOptions
    limits: Limits
    threads: int
    recent: RecentQueries
    changed: Callable[[], None]
    engine_files: EngineFiles | None = None
    manifest: Manifest | None = None
    _covered: _Covered = field(init=False)
    _pace: _Pace = field(default_factory=_Pace)
    _running: tuple[BuildProcess, Due, float] | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _last_snapshot: float = 0.0
    _seen: tuple[int, float] = (-1, 0.0)
    """Slots at the last look, and since when there were as many."""
    _resting: str | None = None
    """Why there will be a build as soon as the last one is long enough ago."""
    _token: int = 0

    def __post_init__(self) -> None:
        self._covered = _Covered(self.cache.slots.number)
        if self.manifest:
            one = self.manifest
            self._covered = _Covered(one.number, one.count, one.vectors.checksum, one.rows.checksum)
        self._token = max((_number_in(name) for name in names_in(self.directory)), default=0)
        self._last_snapshot = time.monotonic()

    def start(self) -> None:
        self._sweep()
        self._thread = threading.Thread(target=self._run, name="index-upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends a build at work and leaves a snapshot."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        if self._running:
            self._running[0].stop()
            self._running = None
        self._snapshot()

    def configure(self, options: IndexOptions) -> None:
        """Any thread."""
        self.options = options
        self._pace = _Pace()

    @property
    def building(self) -> str | None:
        """What is being built, or why nothing is; None = all is as it should be. Any thread."""
        running, pace = self._running, self._pace
        if running:
            process, what, since = running
            name = what.spec.type if what.spec else "vectors anew"
            return f"{name} of {process.job.count} rows since {time.monotonic() - since:.0f} s: {what.reason}"
        if self.cache.slots.fault:
            return f"not possible: {self.cache.slots.fault}"
        if pace.message:
            wait = max(0.0, pace.not_before - time.monotonic())
            return f"again in {wait:.0f} s after {pace.failures} failures: {pace.message}"
        return f"soon after the last one: {self._resting}" if self._resting else None

    def _run(self) -> None:
        while not self._stopping.wait(self.limits.check_seconds):
            try:
                self._step(time.monotonic())
            except Exception:
                # A disk that fails or a fault of ours must not end upkeep: searches go on, and it is tried again.
                logger.exception("upkeep of the index failed")
                self._fail("upkeep failed; see the log")

    def _step(self, now: float) -> None:
        if self._seen[0] != self.cache.view.slots.count:
            self._seen = self.cache.view.slots.count, now
        if self._running:
            self._follow(self._running, now)
        elif not self.cache.slots.in_memory:
            self._start_if_due(now)
        behind = self.cache.view.slots.count - self._covered.count
        waited = now - self._last_snapshot >= self.limits.snapshot_seconds
        if behind >= self.limits.snapshot_rows or (behind and waited):
            self._snapshot()

    def _start_if_due(self, now: float) -> None:
        what = due(self.options, self._facts(now), self.limits)
        self._resting = None
        if what is None:
            self._pace.message = None
            return
        if now < self._pace.not_before:
            return
        if now < self._pace.rest_until and not what.urgent:
            self._resting = what.reason
            return
        job = self._job(what)
        logger.info("index build starts", extra={"reason": what.reason, "rows": job.count, "compact": what.compact})
        try:
            self._running = BuildProcess(job), what, now
        except OSError as error:
            self._fail(f"no process: {error}")

    def _facts(self, now: float) -> Facts:
        view, files = self.cache.view, self.engine_files
        return Facts(
            slots=view.slots.count,
            dead=view.slots.dead,
            dimensions=self.dimensions,
            spec=files.spec if files else None,
            indexed=files.count if files else 0,
            target_recall_percent=files.options.target_recall_percent if files else None,
            quiet=now - self._seen[1] >= self.limits.quiet_seconds,
        )

    def _job(self, what: Due) -> Job:
        self._token += 1
        view = self.cache.view.slots
        dead = np.flatnonzero(~view.alive_between(0, view.count))
        queries = self.recent.all()
        for name, array in (("dead", dead), ("queries", queries)):
            if len(array):
                array.tofile(self.directory / f"{name}-{self._token:08d}.raw")
        return Job(
            directory=str(self.directory),
            number=self.cache.slots.number,
            token=self._token,
            dimensions=self.dimensions,
            distance=self.distance,
            count=view.count,
            options=self.options,
            spec=what.spec,
            dead=f"dead-{self._token:08d}.raw" if len(dead) else None,
            queries=f"queries-{self._token:08d}.raw" if len(queries) else None,
            compact_to=self._token if what.compact else None,
            threads=self.threads,
        )

    def _follow(self, running: tuple[BuildProcess, Due, float], now: float) -> None:
        process, what, since = running
        try:
            result = process.poll()
            if result is None:
                return
            self._running = None
            self._adopt(process.job, result)
        except (AnnError, OSError) as error:
            self._running = None
            self._fail(str(error))
            self._sweep()
            return
        took = time.monotonic() - since
        self._pace = _Pace(rest_until=now + took * self.limits.rest_factor)
        logger.info("index built", extra={"reason": what.reason, "rows": result.count, "seconds": round(took, 2)})
        self._snapshot()
        self._sweep()

    def _adopt(self, job: Job, result: Result) -> None:
        main, tail = load_engine(self.directory, result.engine, self.dimensions) if result.engine else (None, None)
        if job.compact_to is not None:
            if result.vectors is None or result.rows is None:
                raise BuildFailedError("the build made no vectors file")
            slots = SlotFile(self.directory, job.compact_to, self.dimensions, self.limits, count=result.count)
            self.cache.replace(slots, job.count, main, tail)
            self._covered = _Covered(job.compact_to, result.count, result.vectors.checksum, result.rows.checksum)
        elif main and tail:
            self.cache.install(main, tail)
        self.engine_files = result.engine
        self.changed()

    def _fail(self, message: str) -> None:
        failures = self._pace.failures + 1
        pause = min(self.limits.retry_seconds_max, self.limits.retry_seconds * 2 ** (failures - 1))
        self._pace = _Pace(failures, message, time.monotonic() + pause, self._pace.rest_until)
        logger.warning("index build failed", extra={"error": message, "again_seconds": pause, "failures": failures})

    def _snapshot(self) -> None:
        """Brings the manifest up to what is there now. Searches and writes go on; a disk that fails leaves the old one."""
        self._last_snapshot = time.monotonic()
        slots, view = self.cache.slots, self.cache.view.slots
        if slots.in_memory:
            return
        try:
            covered = _continue(self._covered, view.vectors, view.rows, view.count)
            slots.sync()
            manifest = self._manifest(covered, view.count, view.covered)
            write_manifest(self.directory, manifest)
            self.manifest, self._covered = manifest, covered
        except OSError as error:
            logger.warning("no snapshot of the index", extra={"error": str(error)})

    def _manifest(self, covered: _Covered, count: int, row: int) -> Manifest:
        return Manifest(
            format=FORMAT,
            dimensions=self.dimensions,
            distance=self.distance,
            identity=self.identity,
            number=covered.number,
            count=count,
            covered=row,
            vectors=FileStamp(name=vectors_name(covered.number), length=count * self.dimensions * 4, checksum=covered.vectors),
            rows=FileStamp(name=rows_name(covered.number), length=count * 8, checksum=covered.rows),
            engine=self.engine_files,
        )

    def _sweep(self) -> None:
        """What neither the manifest nor this process uses goes."""
        if self.manifest is None:
            return
        engine = self.engine_files or self.manifest.engine
        number = self.cache.slots.number
        keep = {MANIFEST, vectors_name(number), rows_name(number), self.manifest.vectors.name, self.manifest.rows.name}
        if engine:
            keep |= {engine.main.name, engine.tail.name}
        sweep(self.directory, keep)


def _continue(covered: _Covered, vectors: Vectors, rows: Rows, count: int) -> _Covered:
    one = _Covered(covered.number, count, covered.vectors, covered.rows)
    for start in range(covered.count, count, CHECKSUM_ROWS):
        end = min(count, start + CHECKSUM_ROWS)
        one.vectors = checksum(vectors[start:end].data.cast("B"), one.vectors)
        one.rows = checksum(rows[start:end].data.cast("B"), one.rows)
    return one


def _number_in(name: str) -> int:
    digits = name.partition("-")[2].partition(".")[0]
    return int(digits) if digits.isdecimal() else 0
