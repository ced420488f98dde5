"""Searches and writes that never stop, and what became of them: what a rebuild must not disturb."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from corpus import Document

from .endpoint import AnswerError, Endpoint
from .questions import QUESTIONS

_PAUSE_SECONDS = 0.05


class Traffic:
    """A client that searches and one that writes, each one request at a time."""

    def __init__(self, endpoint: Endpoint, document: Document) -> None:
        """`document` is written again and again."""
        self._endpoint = endpoint
        self._document = document
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._again, args=(work,)) for work in (self._search, self._write)]
        self.search_seconds: list[float] = []
        self.longest_write_seconds = 0.0
        self.writes = 0
        self.failures: list[str] = []
        self.generation: int | None = None
        """That answered last."""

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()

    @property
    def p99_milliseconds(self) -> float:
        taken = sorted(self.search_seconds)
        return 1_000 * taken[99 * len(taken) // 100] if taken else 0.0

    def _again(self, work: Callable[[int], None]) -> None:
        for number in itertools.count():
            if self._stop.wait(_PAUSE_SECONDS):
                return
            try:
                work(number)
            except AnswerError as error:
                self.failures.append(str(error))

    def _search(self, number: int) -> None:
        begun = time.monotonic()
        self.generation = self._endpoint.answered_by(QUESTIONS[number % len(QUESTIONS)][0])
        self.search_seconds.append(time.monotonic() - begun)

    def _write(self, number: int) -> None:
        begun = time.monotonic()
        self._endpoint.put(self._document)
        self.longest_write_seconds = max(self.longest_write_seconds, time.monotonic() - begun)
        self.writes += 1
