import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from embedding_serving.embed.encoder import SICK_AFTER_FAILURES, EncodeFailed, Encoder
from embedding_serving.embed.metrics import Metrics
from embedding_serving.embed.scheduler import LargerThanQueue, Priority, QueueFull
from embedding_serving.embed.tokens import Tokens

from .fake_engine import DIMENSIONS, POISON, FakeEngine
from .waiting import until

pytestmark = pytest.mark.timeout(60)
SHAPE = (DIMENSIONS,)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def encoder(engine: FakeEngine) -> AsyncIterator[Encoder]:
    made = Encoder(engine, engine.limits, 1_000, Metrics())
    yield made
    engine.gate.set()
    made.close()


def tokens(*texts: list[int]) -> list[Tokens]:
    return [Tokens(ids) for ids in texts]


async def test_each_text_gets_its_own_vector_in_order(encoder: Encoder) -> None:
    vectors = await encoder.encode(tokens([1], [2, 3], [4] * 60, [5]), Priority.INTERACTIVE, SHAPE)
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [1, 5, 240, 5]


async def test_requests_that_wait_share_the_next_batch(encoder: Encoder, engine: FakeEngine) -> None:
    engine.gate.clear()
    first = asyncio.create_task(encoder.encode(tokens([1]), Priority.INTERACTIVE, SHAPE))
    await until(engine.entered.is_set)
    others = [asyncio.create_task(encoder.encode(tokens([n]), Priority.INTERACTIVE, SHAPE)) for n in (2, 3, 4)]
    await until(lambda: encoder.scheduler.queued_texts == 3)
    engine.gate.set()
    await asyncio.gather(first, *others)
    assert engine.batches == [[[1]], [[2], [3], [4]]]


async def test_a_cancelled_request_is_never_computed(encoder: Encoder, engine: FakeEngine) -> None:
    engine.gate.clear()
    running = asyncio.create_task(encoder.encode(tokens([1]), Priority.INTERACTIVE, SHAPE))
    await until(engine.entered.is_set)
    left = asyncio.create_task(encoder.encode(tokens([2], [3]), Priority.INTERACTIVE, SHAPE))
    await until(lambda: encoder.scheduler.queued_texts == 2)
    left.cancel()
    await until(lambda: encoder.scheduler.queued_texts == 0)
    engine.gate.set()
    await running
    assert engine.texts_run() == [[1]]


async def test_one_bad_text_fails_alone(encoder: Encoder, engine: FakeEngine) -> None:
    engine.gate.clear()
    blocker = asyncio.create_task(encoder.encode(tokens([9]), Priority.INTERACTIVE, SHAPE))
    await until(engine.entered.is_set)
    good = asyncio.create_task(encoder.encode(tokens([1]), Priority.INTERACTIVE, SHAPE))
    bad = asyncio.create_task(encoder.encode(tokens([POISON]), Priority.INTERACTIVE, SHAPE))
    await until(lambda: encoder.scheduler.queued_texts == 2)
    engine.gate.set()
    await blocker
    assert (await good)[0, 0] == 1
    with pytest.raises(EncodeFailed):
        await bad


async def test_an_engine_that_always_fails_is_sick_until_it_recovers(encoder: Encoder) -> None:
    for _ in range(SICK_AFTER_FAILURES):
        assert encoder.sickness() is None
        with pytest.raises(EncodeFailed):
            await encoder.encode(tokens([POISON]), Priority.INTERACTIVE, SHAPE)
    assert encoder.sickness() == f"the last {SICK_AFTER_FAILURES} batches failed"
    await encoder.encode(tokens([1]), Priority.INTERACTIVE, SHAPE)
    assert encoder.sickness() is None


async def test_what_does_not_fit_is_refused_and_nothing_of_it_stays(encoder: Encoder, engine: FakeEngine) -> None:
    engine.gate.clear()
    task = asyncio.create_task(encoder.encode(tokens([1]), Priority.BULK, SHAPE))
    await until(engine.entered.is_set)
    waiting = asyncio.create_task(encoder.encode(tokens([1] * 600), Priority.BULK, SHAPE))
    await until(lambda: encoder.scheduler.queued_tokens == 600)
    with pytest.raises(QueueFull):
        await encoder.encode(tokens([1] * 300, [1] * 300), Priority.BULK, SHAPE)
    with pytest.raises(LargerThanQueue):
        await encoder.encode(tokens([1] * 1_001), Priority.BULK, SHAPE)
    assert encoder.scheduler.queued_tokens == 600
    assert 1 <= encoder.retry_after_seconds() <= 60
    engine.gate.set()
    await asyncio.gather(task, waiting)


async def test_two_workers_run_two_batches_at_once() -> None:
    engine = FakeEngine(concurrency=2)
    encoder = Encoder(engine, engine.limits, 1_000, Metrics())
    engine.gate.clear()
    tasks = [asyncio.create_task(encoder.encode(tokens([1] * 60), Priority.BULK, SHAPE)) for _ in range(3)]
    await until(lambda: len(engine.batches) == 2)
    assert encoder.scheduler.queued_texts == 1
    engine.gate.set()
    await asyncio.gather(*tasks)
    encoder.close()


async def test_a_vector_that_is_not_finite_is_an_error_and_not_an_answer(encoder: Encoder, engine: FakeEngine) -> None:
    healthy: Callable[..., np.ndarray] = engine.encode
    engine.encode = lambda *inputs: healthy(*inputs) * np.float32("inf")  # type: ignore[method-assign]
    with pytest.raises(EncodeFailed, match="not finite"):
        await encoder.encode(tokens([1]), Priority.BULK, SHAPE)
