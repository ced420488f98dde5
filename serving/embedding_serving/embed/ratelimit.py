"""How much one client may ask for: requests and tokens a minute.

The generic cell rate algorithm (ITU-T I.371): one number a client, the time at which its allowance is whole again. A
minute's allowance may be used at once and refills steadily. Counted in Redis for all replicas together, in one atomic
script; in this process while Redis does not answer.
"""

import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from .redis_store import RedisStore

MINUTE_SECONDS = 60.0
MAX_CLIENTS = 10_000

# KEYS[1]: the client; ARGV: cost in seconds of allowance. Answers 0, or the seconds to wait, as text (Lua's numbers
# become integers on the wire). The clock is Redis' own, so replicas need not agree on the time.
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local whole_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
local after = whole_at + tonumber(ARGV[1])
if after - now > 60 then return tostring(after - now - 60) end
redis.call('SET', KEYS[1], string.format('%.6f', after), 'PX', math.ceil((after - now) * 1000) + 1)
return '0'
"""


@dataclass(frozen=True, slots=True)
class RateLimited(Exception):
    """`unit`: `requests` or `tokens`."""

    unit: str
    limit_per_minute: int
    retry_after_seconds: int


class AboveRateLimit(Exception):
    """One request costs more than a minute's allowance: no retry can help."""

    def __init__(self, unit: str, cost: int, limit_per_minute: int) -> None:
        super().__init__(f"the request costs {cost} {unit}, a client may use {limit_per_minute} a minute")


def client_id(authorization: bytes | None, address: str) -> str:
    """Who asks: the credentials it sends (hashed, they are secret), or its address."""
    if authorization:
        return "key:" + hashlib.blake2b(authorization, digest_size=16).hexdigest()
    return "ip:" + address


class RateLimiter:
    def __init__(
        self, *, requests_per_minute: int | None, tokens_per_minute: int | None, namespace: str, shared: RedisStore | None
    ) -> None:
        self._limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._namespace = namespace
        self._shared = shared
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    async def charge(self, client: str, unit: str, cost: int) -> None:
        """Raises RateLimited where the allowance is used up, AboveRateLimit where it could never do."""
        limit = self._limits[unit]
        if limit is None or cost == 0:
            return
        if cost > limit:
            raise AboveRateLimit(unit, cost, limit)
        cost_seconds = cost * MINUTE_SECONDS / limit
        wait_seconds = await self._take(f"{unit}:{client}", cost_seconds)
        if wait_seconds > 0:
            raise RateLimited(unit, limit, max(1, math.ceil(wait_seconds)))

    async def refund(self, client: str, unit: str, cost: int) -> None:
        """Gives back what was charged for a request that was refused for another reason."""
        limit = self._limits[unit]
        if limit is not None and cost:
            await self._take(f"{unit}:{client}", -cost * MINUTE_SECONDS / limit)

    async def _take(self, key: str, cost_seconds: float) -> float:
        if self._shared:
            answer = await self._shared.run_script(_SCRIPT, [f"eo:rate:1:{self._namespace}:{key}"], [cost_seconds])
            if answer is not None:
                return float(answer)
        return self._take_here(key, cost_seconds)

    def _take_here(self, key: str, cost_seconds: float) -> float:
        now = time.monotonic()
        after = max(now, self._whole_at.get(key, now)) + cost_seconds
        if after - now > MINUTE_SECONDS:
            return after - now - MINUTE_SECONDS
        self._whole_at[key] = after
        self._whole_at.move_to_end(key)
        if len(self._whole_at) > MAX_CLIENTS:
            self._whole_at.popitem(last=False)
        return 0.0
