"""The ledger catches a service that goes back on its word: a service in memory that lies in one way after the other."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from fixtures.ledger import BrokenPromise, Change, Content, Ledger, Outcome, Read, Unavailable, _after, first_broken

OPERATIONS = 1_000


class Service:
    """Documents in a dict; answers get lost. `lie`: what it does wrong."""

    def __init__(self, seed: int, lie: str = "") -> None:
        self._draw = random.Random(seed)
        self._lie = lie
        self._held: dict[str, tuple[str, Content]] = {}
        self._answered: dict[str, list[Outcome]] = {}
        self._numbers = 0

    async def send(self, changes: Sequence[Change], key: str) -> list[Outcome]:
        await asyncio.sleep(0)
        self._lose("the request")
        if key not in self._answered or self._lies("forgets requests"):
            self._answered[key] = [self._do(change) for change in changes]
        self._lose("the answer")
        return self._answered[key]

    async def read(self, id_: str) -> Read | None:
        await asyncio.sleep(0)
        self._lose("the read")
        found = self._held.get(id_)
        return None if found is None else Read(found[0], found[1].text, found[1].metadata)

    async def search(self, vector: Sequence[float], k: int, *, strong: bool) -> list[str]:
        await asyncio.sleep(0)
        near = sorted(
            (sum(x * y for x, y in zip(one.vector, vector, strict=True)), id_) for id_, (_, one) in self._held.items()
        )
        return [id_ for _, id_ in near[::-1][:k]]

    def _do(self, change: Change) -> Outcome:
        version, content = self._held.get(change.id, ("0", None))
        if change.if_version is not None and change.if_version != version and not self._lies("ignores conditions"):
            return Outcome(error="version_conflict")
        if change.patch is not None and content is None:
            return Outcome(error="not_found")
        self._numbers += 1
        after = _after(content, change)
        if after is None:
            if not self._lies("keeps deletions"):
                self._held.pop(change.id, None)
            return Outcome(version=None if content is None else f"1.{self._numbers}")
        if not self._lies("loses writes"):
            self._held[change.id] = (f"1.{self._numbers}", after)
        return Outcome(version=f"1.{self._numbers}")

    def _lies(self, lie: str) -> bool:
        return self._lie == lie and self._draw.random() < 0.5

    def _lose(self, what: str) -> None:
        if self._draw.random() < 0.3:
            raise Unavailable(f"{what} was lost")


async def drive(service: Service, seed: int) -> Ledger:
    ledger = Ledger(service, seed, documents_each=10, again_seconds=0.001)
    running = asyncio.create_task(ledger.run())
    while not running.done() and ledger.counts.acknowledged < OPERATIONS:  # noqa: ASYNC110 - either may come first
        await asyncio.sleep(0.01)
    ledger.stop()
    try:
        await running
    except ExceptionGroup as group:
        raise first_broken(group) from None
    await ledger.verify()
    return ledger


async def test_an_honest_service_keeps_its_word_though_answers_get_lost() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    counts = (await drive(Service(seed), seed)).counts
    assert counts.acknowledged >= OPERATIONS
    assert counts.sent_again > 10
    assert counts.verified > 50
    assert counts.failed_searches == 0


@pytest.mark.parametrize("lie", ["loses writes", "keeps deletions", "ignores conditions", "forgets requests"])
async def test_a_lie_is_found(lie: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with pytest.raises(BrokenPromise) as found:
        await drive(Service(seed, lie), seed)
    print(found.value)
