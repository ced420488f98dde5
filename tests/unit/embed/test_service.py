import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedding_serving.contract.model import EngineName, Normalize, Pooling, Precision, Task
from embedding_serving.embed.cache import VectorCache
from embedding_serving.embed.encoder import Encoder
from embedding_serving.embed.metrics import Metrics
from embedding_serving.embed.scheduler import Priority, QueueFull
from embedding_serving.embed.service import EmbeddingService, EmbedRequest
from embedding_serving.embed.texts import InputType
from embedding_serving.embed.tokens import TextTokenizer, TooManyTokens, Truncation
from embedding_serving.http.ratelimit import RateLimited, RateLimiter
from embedding_serving.prepared import PreparedModel
from fixtures.models import minilm_directory

from .fake_engine import DIMENSIONS, POISON, FakeEngine
from .waiting import until

pytestmark = pytest.mark.timeout(60)
MAX_TOKENS = 32


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(minilm_directory() / "tokenizer.json", MAX_TOKENS)


def model() -> PreparedModel:
    return PreparedModel(
        fingerprint="f" * 64, task=Task.EMBED, architecture="Bert", dimensions=DIMENSIONS, max_tokens=MAX_TOKENS,
        pooling=Pooling.MEAN, normalize=Normalize.ALWAYS, query_prefix="query: ", document_prefix="passage: ",
        precision=Precision.FLOAT32, engines=(EngineName.ONNX_RUNTIME,), files={},
    )  # fmt: skip


class Setup:
    def __init__(self, tokenizer: TextTokenizer, ttl_seconds: int = 0, tokens_per_minute: int | None = None) -> None:
        self.engine = FakeEngine()
        self.metrics = Metrics()
        self.encoder = Encoder(self.engine, self.engine.limits, 200, self.metrics)
        cache = VectorCache(
            namespace="x", dimensions=DIMENSIONS, ttl_seconds=ttl_seconds, max_bytes=10_000, shared=None, metrics=self.metrics
        )
        limiter = RateLimiter(requests_per_minute=None, tokens_per_minute=tokens_per_minute, namespace="m", shared=None)
        self.service = EmbeddingService(
            model=model(), tokenizer=tokenizer, encoder=self.encoder, cache=cache, limiter=limiter, metrics=self.metrics
        )

    async def hold_the_engine(self) -> asyncio.Task[object]:
        """A batch that runs until the gate opens, so that what comes after it waits."""
        self.engine.gate.clear()
        blocker: asyncio.Task[object] = asyncio.create_task(self.service.embed(request("blocker")))
        await until(self.engine.entered.is_set)
        self.engine.batches.clear()
        return blocker

    def start(self, embed_request: EmbedRequest) -> asyncio.Task[object]:
        return asyncio.create_task(self.service.embed(embed_request))


@pytest.fixture
async def setup(tokenizer: TextTokenizer) -> AsyncIterator[Setup]:
    made = Setup(tokenizer)
    yield made
    made.engine.gate.set()
    await made.service.close()


def request(*texts: str, input_type: InputType = InputType.NONE, priority: Priority = Priority.INTERACTIVE) -> EmbedRequest:
    return EmbedRequest(client="me", texts=texts, input_type=input_type, priority=priority)


async def test_the_prefix_of_its_role_is_put_before_a_text(setup: Setup) -> None:
    for role, prefixed in ((InputType.QUERY, "query: a"), (InputType.DOCUMENT, "passage: a"), (InputType.NONE, "a")):
        mine = await setup.service.embed(request("a", input_type=role))
        plain = await setup.service.embed(request(prefixed))
        assert mine.vectors.tolist() == plain.vectors.tolist()


async def test_a_text_that_many_ask_for_at_once_is_computed_once(setup: Setup) -> None:
    blocker = await setup.hold_the_engine()
    askers = [setup.start(request("same", "same", f"own {index}")) for index in range(3)]
    await until(lambda: setup.encoder.scheduler.queued_texts == 4)
    setup.engine.gate.set()
    await asyncio.gather(blocker, *askers)
    assert len(setup.engine.texts_run()) == 4
    assert all(answer.result().vectors[0].tolist() == answer.result().vectors[1].tolist() for answer in askers)  # type: ignore[attr-defined]


async def test_a_shared_text_survives_the_client_that_asked_first(setup: Setup) -> None:
    blocker = await setup.hold_the_engine()
    first = setup.start(request("same", "only mine"))
    await until(lambda: setup.encoder.scheduler.queued_texts == 2)
    second = setup.start(request("same"))
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: setup.encoder.scheduler.queued_texts == 1)
    setup.engine.gate.set()
    await asyncio.gather(blocker, second)
    assert len(setup.engine.texts_run()) == 1


async def test_an_interactive_text_does_not_wait_behind_the_same_text_of_bulk_work(setup: Setup) -> None:
    blocker = await setup.hold_the_engine()
    bulk = setup.start(request("same", priority=Priority.BULK))
    await until(lambda: setup.encoder.scheduler.queued_texts == 1)
    quick = setup.start(request("same"))
    await until(lambda: setup.encoder.scheduler.queued_texts == 2)
    setup.engine.gate.set()
    await asyncio.gather(blocker, bulk, quick)


async def test_a_failed_text_is_tried_again_by_the_next_request(setup: Setup) -> None:
    bad = EmbedRequest(client="me", token_ids=[[POISON]])
    for _ in range(2):
        with pytest.raises(Exception, match="the engine failed"):
            await setup.service.embed(bad)
    assert len(setup.engine.batches) == 2


async def test_a_cached_text_is_not_computed_again_and_counts_the_same(tokenizer: TextTokenizer) -> None:
    setup = Setup(tokenizer, ttl_seconds=60)
    first = await setup.service.embed(request("hello", "world"))
    again = await setup.service.embed(request("world", "hello"))
    assert again.vectors.tolist() == first.vectors[::-1].tolist()
    assert again.tokens == first.tokens == 6
    assert len(setup.engine.texts_run()) == 2
    assert b"embedding_cache_hit_rate 0.5" in setup.metrics.render()
    await setup.service.close()


async def test_a_cut_text_is_no_answer_for_who_refuses_cutting(tokenizer: TextTokenizer) -> None:
    setup = Setup(tokenizer, ttl_seconds=60)
    long = "word " * 100
    await setup.service.embed(request(long))
    with pytest.raises(TooManyTokens) as refused:
        await setup.service.embed(
            EmbedRequest(client="me", texts=["fine", long], input_type=InputType.NONE, truncation=Truncation.REFUSE)
        )
    assert refused.value.index == 1
    await setup.service.close()


async def test_tokens_of_a_request_that_the_queue_refuses_are_given_back(tokenizer: TextTokenizer) -> None:
    setup = Setup(tokenizer, tokens_per_minute=300)
    blocker = await setup.hold_the_engine()
    waiting = setup.start(request(*(f"{'word ' * 20}{index}" for index in range(8))))
    await until(lambda: setup.encoder.scheduler.queued_texts == 8)
    used = setup.encoder.scheduler.queued_tokens
    refused, fitting = ["word " * 25, "word " * 26], ["word " * 30, "word " * 31]
    with pytest.raises(QueueFull):
        await setup.service.embed(request(*refused))
    setup.engine.gate.set()
    await asyncio.gather(blocker, waiting)
    answer = await setup.service.embed(request(*fitting))
    assert used + 55 + answer.tokens > 300, "the refused tokens would not have been missed"
    with pytest.raises(RateLimited) as too_much:
        await setup.service.embed(request("word " * 29, "word " * 28))
    assert too_much.value.unit == "tokens"
    await setup.service.close()


async def test_nothing_of_a_finished_request_is_kept(setup: Setup) -> None:
    blocker = await setup.hold_the_engine()
    left = setup.start(request("a", "b"))
    await until(lambda: setup.encoder.scheduler.queued_texts == 2)
    left.cancel()
    await until(left.done)
    again = setup.start(request("a"))
    setup.engine.gate.set()
    await asyncio.gather(blocker, again)
    await until(lambda: not setup.service._in_flight and not setup.encoder._jobs)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    from embedding_serving.embed.tokens import BrokenTokenizer

    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(BrokenTokenizer, match=r"tokenizer\.json"):
        TextTokenizer(broken, 8)
