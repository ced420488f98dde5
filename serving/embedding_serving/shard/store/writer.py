"""Group commit: one thread, one connection, one transaction for everything that waits.

A job is a function of the transaction; its answer is given out after the commit is on disk and the approximate index
knows of it. While one transaction syncs, the next group gathers: under load the cost of a sync is shared by many.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from ...contract.admin import Refusal
from ...contract.index import FieldType
from . import schema
from .records import Committed, Refused, StoreCorrupt, StoreError
from .state import State, save
from .transaction import Transaction

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP_CHANGES = 2_000
"""Changes that one transaction takes at most, apart from a single larger job."""

FULL = "the volume is full: raise storage.size of the VectorIndex, or delete documents"


@dataclass(slots=True)
class _Job:
    run: Callable[[Transaction], Any]
    future: "Future[Any]"
    changes: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction, for metrics."""

    jobs: int
    changes: int
    seconds: float


class Writer:
    """Owns the writing connection. `published` holds the last committed state and may be read by any thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        declared: Mapping[str, tuple[int, FieldType]],
        *,
        retention_ms: int,
        on_commit: Callable[[Committed], None],
        on_measured: Callable[[Commit], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.published = state
        self.fault: tuple[Refusal, str] | None = None
        self._db = connection
        self._declared = declared
        self._retention_ms = retention_ms
        self._on_commit = on_commit
        self._on_measured = on_measured
        self._now_ms = now_ms
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[Transaction], T], changes: int = 1) -> "Future[T]":
        """Queues a job. The future raises Refused where the job did, StoreError where the commit failed."""
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(StoreError("the store is closed"))
            return future
        self._jobs.put(_Job(run, future, changes))
        return future

    def close(self) -> None:
        """Commits what is queued and ends."""
        self._closed = True
        self._jobs.put(None)
        if self._thread:
            self._thread.join()
        self._db.close()

    def _work(self) -> None:
        going = True
        while going:
            group, going = self._gather()
            if group:
                self._run(group)

    def _gather(self) -> tuple[list[_Job], bool]:
        """What waits; without those whose callers have gone away. From here on none can."""
        job = self._jobs.get()
        group: list[_Job] = []
        changes = 0
        while job is not None:
            if job.future.set_running_or_notify_cancel():
                group.append(job)
                changes += job.changes
            if changes >= GROUP_CHANGES:
                return group, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _run(self, group: list[_Job]) -> None:
        started = time.perf_counter()
        before = self.published
        answers: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            transaction = Transaction(self._db, before, self._declared, self._now_ms(), self._retention_ms)
            for job in group:
                try:
                    answers.append((job.future, job.run(transaction), None))
                except Refused as refused:
                    answers.append((job.future, None, refused))
            after, committed = transaction.finish()
            save(self._db, before, after)
            self._db.execute("COMMIT")
            if self.fault and self.fault[0] is not Refusal.CORRUPT:
                self.fault = None
        except Exception as error:
            self._roll_back()
            if len(group) > 1 and not isinstance(error, sqlite3.Error):
                for job in group:  # one job's bug is not its neighbours' failure
                    self._run([job])
            else:
                self._failed(group, error)
            return
        self._tell(committed)
        self.published = after
        for future, value, failure in answers:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(value)
        self._on_measured(Commit(len(group), sum(job.changes for job in group), time.perf_counter() - started))

    def _tell(self, committed: Committed) -> None:
        """What is on disk is acknowledged, whatever becomes of the cache."""
        try:
            self._on_commit(committed)
        except Exception:
            log.exception("the approximate index did not take a commit")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                log.exception("the transaction could not be rolled back")

    def _failed(self, group: list[_Job], error: Exception) -> None:
        """Nothing of the group is stored; each of its callers learns why."""
        failure = self._explained(error)
        log.error("a transaction failed: %s", failure, exc_info=None if isinstance(error, sqlite3.Error) else error)
        for job in group:
            if not job.future.done():
                job.future.set_exception(failure)

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, StoreCorrupt):
            self.fault = (Refusal.CORRUPT, str(error))
            return Refused(*self.fault)
        if not isinstance(error, sqlite3.Error):
            return StoreError(f"the shard failed on this write ({type(error).__name__}): its log has the trace")
        if schema.is_full(error):
            self.fault = (Refusal.VOLUME_FULL, FULL)
        elif schema.is_damage(error):
            self.fault = (Refusal.CORRUPT, f"the database is damaged ({error}): {schema.RESTORE}")
        else:
            self.fault = (Refusal.READ_ONLY, f"{schema.READ_ONLY} ({error})")
        return Refused(*self.fault)
