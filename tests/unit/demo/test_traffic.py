"""What the demo counts beside a rebuild."""

from __future__ import annotations

import threading
import time
from typing import cast

from corpus import Document
from demo.endpoint import AnswerError, Endpoint
from demo.traffic import Traffic


class _Answers:
    """An endpoint whose first write waits until a search has failed."""

    def __init__(self) -> None:
        self.searched = threading.Event()
        self._searches = 0

    def answered_by(self, query: str) -> int:
        self._searches += 1
        if self._searches == 2:
            self.searched.set()
            raise AnswerError("503")
        return 7

    def put(self, document: Document) -> None:
        self.searched.wait(10)


def test_failures_are_counted_and_the_longest_write_is_kept() -> None:
    endpoint = _Answers()
    begun = time.monotonic()
    with Traffic(cast(Endpoint, endpoint), Document("a", "text", {})) as traffic:
        assert endpoint.searched.wait(10)
        while not traffic.writes or not traffic.failures:
            assert time.monotonic() < begun + 10
    assert traffic.failures == ["503"]
    assert traffic.generation == 7
    assert traffic.longest_write_seconds > 0
    assert traffic.p99_milliseconds > 0
