"""From a request's texts to vectors: prefix, cache, rate limit, tokens, encoder. Knows nothing of HTTP."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..http.ratelimit import RateLimiter
from ..prepared import PreparedModel
from .cache import CachedVector, VectorCache, text_key
from .encoder import Encoder
from .engines.engine import Vectors
from .jobs import Gathering, Job
from .metrics import Metrics
from .scheduler import LargerThanQueue, Priority, QueueFull
from .texts import DEFAULT_INPUT_TYPE, InputType, prefix_of
from .tokens import TextTokenizer, Tokens, TooManyTokens, Truncation, UnknownToken

T = TypeVar("T")

# Tokenising this much costs the event loop less than handing it to a thread and back.
INLINE_TEXTS = 8
INLINE_CHARACTERS = 8_192


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """`texts`, or token ids of the model's own vocabulary in `token_ids`; the other is empty."""

    client: str
    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] = ()
    input_type: InputType = DEFAULT_INPUT_TYPE
    truncation: Truncation = Truncation.RIGHT
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class RerankRequest:
    client: str
    query: str
    texts: Sequence[str]
    truncation: Truncation = Truncation.RIGHT
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Encoded:
    """vectors: float32 [n, dim] in the order of the texts (scores, float32 [n], of a re-ranker); tokens: of all texts."""

    vectors: Vectors
    tokens: int


class EmbeddingService:
    def __init__(
        self,
        *,
        model: PreparedModel,
        tokenizer: TextTokenizer,
        encoder: Encoder,
        cache: VectorCache,
        limiter: RateLimiter,
        metrics: Metrics,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self._tokenizer = tokenizer
        self._cache = cache
        self._limiter = limiter
        self._metrics = metrics
        self._in_flight: dict[bytes, Job] = {}
        self._threads = ThreadPoolExecutor(max(1, min(4, encoder.engine.concurrency)), thread_name_prefix="tokenise")

    async def embed(self, request: EmbedRequest) -> Encoded:
        """Raises QueueFull, LargerThanQueue, RateLimited, AboveRateLimit, TooManyTokens, UnknownToken, EncodeFailed."""
        await self._limiter.charge(request.client, "requests", 1)
        keys = self._keys(request)
        known = await self._cache.get(keys)
        gathering = Gathering(len(keys), (self.model.dimensions,))
        try:
            tokens = await self._gather(request, keys, known, gathering)
        except BaseException:
            self.encoder.abandon(gathering)
            raise
        self._metrics.answered(len(keys), tokens)
        return Encoded(gathering.vectors, tokens)

    async def rerank(self, request: RerankRequest) -> Encoded:
        """Scores float32 [n], of the texts against the query. Raises like `embed`."""
        await self._limiter.charge(request.client, "requests", 1)
        self._refuse_if_full()
        pairs = await self._off_loop(
            sum(map(len, request.texts)) + len(request.query),
            len(request.texts),
            lambda: self._tokenizer.pairs(request.query, request.texts, request.truncation),
        )
        tokens = sum(map(len, pairs))
        await self._limiter.charge(request.client, "tokens", tokens)
        try:
            scores = await self.encoder.encode(pairs, request.priority, ())
        except (QueueFull, LargerThanQueue):
            await self._limiter.refund(request.client, "tokens", tokens)
            raise
        self._metrics.answered(len(pairs), tokens)
        return Encoded(scores, tokens)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._cache.close()
        self.encoder.close()

    async def _gather(
        self, request: EmbedRequest, keys: Sequence[bytes], known: Mapping[bytes, CachedVector], gathering: Gathering
    ) -> int:
        """Fills `gathering` from the cache, from texts that run already, and from the encoder. The tokens of all texts."""
        tokens = 0
        fresh: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys):
            if cached := known.get(key):
                gathering.vectors[row] = cached.vector
                tokens += cached.tokens
            elif running := self._running(key, request.priority):
                gathering.wait_for(running, row)
                tokens += len(running.tokens)
            else:
                fresh.setdefault(key, []).append(row)
        jobs = await self._jobs(request, fresh) if fresh else {}
        tokens += sum(len(job.tokens) * len(fresh[key]) for key, job in jobs.items())
        await self._limiter.charge(request.client, "tokens", tokens)
        try:
            self.encoder.submit(list(jobs.values()), request.priority)
        except (QueueFull, LargerThanQueue):
            await self._limiter.refund(request.client, "tokens", tokens)
            raise
        for key, job in jobs.items():
            self._in_flight[key] = job
            for row in fresh[key]:
                gathering.wait_for(job, row)
        await gathering.complete()
        self._cache.put({key: CachedVector(gathering.vectors[fresh[key][0]], len(job.tokens)) for key, job in jobs.items()})
        return tokens

    def _running(self, key: bytes, priority: Priority) -> Job | None:
        """The same text on its way for somebody else, unless it waits behind more than we would."""
        job = self._in_flight.get(key)
        return job if job is not None and job.priority <= priority else None

    async def _jobs(self, request: EmbedRequest, fresh: Mapping[bytes, Sequence[int]]) -> dict[bytes, Job]:
        """A job for each key in `fresh`, whose value is the rows of the request that hold this text."""
        rows = [rows[0] for rows in fresh.values()]
        try:
            tokenised = await self._tokenise(request, rows)
        except (TooManyTokens, UnknownToken) as error:
            error.index = rows[error.index]
            raise
        return {
            key: Job(tokens, request.priority, partial(self._left, key)) for key, tokens in zip(fresh, tokenised, strict=True)
        }

    def _left(self, key: bytes, job: Job) -> None:
        if self._in_flight.get(key) is job:
            del self._in_flight[key]

    def _keys(self, request: EmbedRequest) -> list[bytes]:
        kind = request.truncation
        if request.token_ids:
            return [text_key("ids:" + kind, ",".join(map(str, ids))) for ids in request.token_ids]
        prefix = prefix_of(self.model, request.input_type)
        return [text_key(kind, prefix + text) for text in request.texts]

    async def _tokenise(self, request: EmbedRequest, rows: Sequence[int]) -> list[Tokens]:
        self._refuse_if_full()
        if request.token_ids:
            return self._tokenizer.token_ids([request.token_ids[row] for row in rows], request.truncation)
        prefix = prefix_of(self.model, request.input_type)
        texts = [prefix + request.texts[row] for row in rows]
        return await self._off_loop(sum(map(len, texts)), len(texts), lambda: self._tokenizer.texts(texts, request.truncation))

    async def _off_loop(self, characters: int, texts: int, tokenise: Callable[[], T]) -> T:
        """Runs at once what is short, and on a thread what would hold up other requests."""
        if texts <= INLINE_TEXTS and characters <= INLINE_CHARACTERS:
            return tokenise()
        return await asyncio.get_running_loop().run_in_executor(self._threads, tokenise)

    def _refuse_if_full(self) -> None:
        """Spares a full server the work of tokenising what it would refuse."""
        scheduler = self.encoder.scheduler
        if scheduler.queued_tokens >= scheduler.max_queued_tokens:
            raise QueueFull(0, scheduler.queued_tokens, scheduler.max_queued_tokens)
