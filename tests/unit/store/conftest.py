import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_serving.contract.admin import Unfence
from embedding_serving.contract.index import FieldIndex, FieldType
from embedding_serving.shard.store.records import Change, Committed, Identity, Op, Vectors, WriteBatch, WriteResult
from embedding_serving.shard.store.store import Store

IDENTITY = Identity(generation=1, shard=0, shards=1, fingerprint="f1", dimensions=4)
FIELDS = (FieldIndex(name="kind", type=FieldType.KEYWORD),)


class Clock:
    """Milliseconds that only a test moves."""

    def __init__(self) -> None:
        self.ms = 1_000_000_000

    def __call__(self) -> int:
        return self.ms


class Shard:
    """A store with the few lines that most tests need around it."""

    def __init__(self, directory: Path, clock: Clock, identity: Identity = IDENTITY) -> None:
        self.directory = directory
        self.clock = clock
        self.identity = identity
        self.committed: list[Committed] = []
        self._requests = itertools.count()
        self.store = self._open()

    def _open(self) -> Store:
        store = Store.open(
            self.directory, self.identity, FIELDS, retention_seconds=60, on_commit=self.committed.append, now_ms=self.clock
        )
        store.start()
        return store

    def reopen(self) -> None:
        self.store.close()
        self.store = self._open()

    async def admit(self, epoch: int = 1) -> None:
        await self.store.command(Unfence(epoch=epoch, history=self.store.state.protocol.history))

    async def write(self, *changes: Change, request_id: str | None = None, issued_at: int | None = None) -> list[WriteResult]:
        batch = WriteBatch(
            self.identity.generation,
            self.identity.fingerprint,
            request_id or f"r{next(self._requests)}",
            self.clock() if issued_at is None else issued_at,
            changes,
        )
        return list((await self.store.write(batch)).results)

    async def put(self, id_: str, text: str = "text", **options: Any) -> str | None:
        (result,) = await self.write(Change(Op.PUT, id_, text, vector=vector(hash(id_) % 97 + 1), **options))
        assert result.code is None, result
        return result.version

    async def delete(self, id_: str) -> WriteResult:
        (result,) = await self.write(Change(Op.DELETE, id_))
        return result

    def text_of(self, id_: str) -> str | None:
        (document,) = self.store.reader.get([id_])
        return document.text if document else None


def vector(seed: int) -> Vectors:
    values = np.asarray([seed, 1, 2, 3], dtype=np.float32)
    return values / np.linalg.norm(values)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Shard]]:
    made: list[Shard] = []

    def build(name: str = "a", **options: Any) -> Shard:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(Shard(directory, clock, **options))
        return made[-1]

    yield build
    for shard in made:
        shard.store.close()


@pytest.fixture
async def shard(make: Callable[..., Shard]) -> Shard:
    """Admitted and empty."""
    one: Shard = make()
    await one.admit()
    return one
