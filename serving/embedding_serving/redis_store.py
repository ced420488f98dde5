"""Redis, as something that may be slow or gone at any moment.

Every call has a short deadline. After a few failures in a row the circuit opens: for some seconds nothing is asked,
so an outage costs a request nothing; then one call tries again.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)
T = TypeVar("T")

TIMEOUT_SECONDS = 0.25
FAILURES_TO_OPEN = 3
OPEN_SECONDS = 5.0
MAX_CONNECTIONS = 32


class RedisStore:
    def __init__(self, url: str, report: Callable[[bool], None]) -> None:
        """report: told whether Redis answers, at the start and whenever it changes.

        Raises ValueError for an URL that is not one; the message does not repeat it, it may hold a password.
        """
        try:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                max_connections=MAX_CONNECTIONS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            raise ValueError("redis_url is not a redis://, rediss:// or unix:// URL") from None
        self._client = redis.Redis.from_pool(pool)
        self._report = report
        self._failures = 0
        self._answered = False
        self._closed_again_at = 0.0
        report(False)

    @property
    def answers(self) -> bool:
        """Whether it did when it was last asked."""
        return self._failures < FAILURES_TO_OPEN

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """An entry or None a key; all None while Redis does not answer."""
        found: Any = await self._guarded(lambda: self._client.mget(list(keys)))
        return [None] * len(keys) if found is None else list(found)

    async def set_many(self, entries: Mapping[bytes, bytes], ttl_seconds: int) -> None:
        async def write() -> bool:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key, entry in entries.items():
                    pipeline.set(key, entry, ex=ttl_seconds)
                await pipeline.execute()
            return True

        await self._guarded(write)

    async def run_script(self, script: str, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Any | None:
        """The script's answer, or None while Redis does not answer."""
        registered = self._client.register_script(script)
        return await self._guarded(lambda: registered(keys=list(keys), args=list(arguments)))

    async def close(self) -> None:
        await self._client.aclose()

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T | None:
        if time.monotonic() < self._closed_again_at:
            return None
        try:
            answer = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        if self._failures or not self._answered:
            self._recovered()
        return answer

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures < FAILURES_TO_OPEN:
            return
        self._closed_again_at = time.monotonic() + OPEN_SECONDS
        if self._failures == FAILURES_TO_OPEN:
            log.warning("the shared cache does not answer (%s); it is done without until then", type(error).__name__)
            self._report(False)

    def _recovered(self) -> None:
        if self._failures >= FAILURES_TO_OPEN:
            log.info("the shared cache answers again")
        self._failures = 0
        self._answered = True
        self._report(True)
