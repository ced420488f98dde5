import numpy as np
import pytest

from embedding_serving.shard.index_feed import IndexFeed
from embedding_serving.shard.store.records import Committed, Rows, Vectors

NONE = np.empty(0, dtype=np.int64)


class Index:
    def __init__(self) -> None:
        self.rows: list[int] = []
        self.fails = False

    def apply(self, added_rows: Rows, added: Vectors, removed_rows: Rows) -> None:
        if self.fails:
            raise MemoryError("no room")
        self.rows += added_rows.tolist()


def commit(row: int) -> Committed:
    return Committed(np.array([row]), np.zeros((1, 2), np.float32), NONE, row)


def test_a_commit_that_fails_is_tried_again_before_the_next(caplog: pytest.LogCaptureFixture) -> None:
    index, feed = Index(), IndexFeed()
    feed.attach(index)
    feed(commit(1))
    index.fails = True
    feed(commit(2))
    feed(commit(3))
    assert feed.is_behind
    assert "did not take a commit" in caplog.text
    index.fails = False
    feed.retry()
    assert not feed.is_behind
    feed(commit(4))
    assert index.rows == [1, 2, 3, 4]


def test_what_does_not_concern_the_index_passes_by() -> None:
    index, feed = Index(), IndexFeed()
    feed.attach(index)
    index.fails = True
    feed(Committed(NONE, np.zeros((0, 2), np.float32), NONE, 1))
    assert not feed.is_behind


def test_a_commit_that_is_being_taken_keeps_nobody_from_writing() -> None:
    class Looking(Index):
        def apply(self, added_rows: Rows, added: Vectors, removed_rows: Rows) -> None:
            seen.append(feed.is_behind)
            super().apply(added_rows, added, removed_rows)

    seen: list[bool] = []
    feed = IndexFeed()
    feed.attach(Looking())
    feed(commit(1))
    assert seen == [False]
