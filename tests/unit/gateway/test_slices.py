"""What else is due on the event loop gets its turn while many documents are looked at."""

import asyncio

from embedding_serving.gateway.document_request import parse_documents
from embedding_serving.gateway.slices import SLICE, in_slices

SLICES = 5


class Turns:
    """Counts its turns on the event loop until it is left."""

    async def __aenter__(self) -> "Turns":
        self.count = 0
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def test_all_items_come_in_order_and_others_have_their_turn_after_every_few() -> None:
    items = list(range(SLICES * SLICE + 3))
    async with Turns() as turns:
        assert [item async for item in in_slices(items)] == items
    assert turns.count >= SLICES


async def test_few_items_come_at_once() -> None:
    async with Turns() as turns:
        assert [item async for item in in_slices(range(SLICE - 1))] == list(range(SLICE - 1))
    assert turns.count == 0


async def test_a_large_upsert_is_read_with_turns_for_others() -> None:
    documents = [{"id": str(number), "vector": [0.5, 1.0]} for number in range(SLICES * SLICE)]
    async with Turns() as turns:
        changes = await parse_documents({"documents": documents}, len(documents))
    assert [change.at for change in changes] == [f"documents[{number}]" for number in range(len(documents))]
    assert turns.count >= SLICES
