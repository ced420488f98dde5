"""How much one client may ask for: requests and tokens a minute.

The generic cell rate algorithm (ITU-T I.371): one number a client, the time at which its allowance is whole again. A
minute's allowance (or `burst`, where that is set) may be used at once and refills steadily. Counted in Redis for all
replicas together, in one atomic script; in this process while Redis does not answer, or not at all where that is asked.
"""

import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from ..redis_store import RedisStore

MINUTE_SECONDS = 60.0
MAX_CLIENTS = 10_000
ROUNDING_SECONDS = 1e-6

# KEYS[1]: the client; ARGV: cost, and what may be used at once, in seconds of allowance. Answers 0, or the seconds to
# wait, as text (Lua's numbers become integers on the wire). The clock is Redis' own, so replicas need not agree on it.
_SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local whole_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
local after = whole_at + tonumber(ARGV[1])
local at_once = tonumber(ARGV[2])
if after - now > at_once + 1e-6 then return tostring(after - now - at_once) end
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


class Uncounted(Exception):
    """Redis does not count, and requests that nobody counts are not wanted."""


class RateLimiter:
    def __init__(
        self,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None = None,
        requests_at_once: int | None = None,
        namespace: str,
        shared: RedisStore | None,
        shared_only: bool = False,
    ) -> None:
        """requests_at_once: absent = a minute's. shared_only: refuse while `shared` does not answer."""
        self._limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._at_once = {"requests": requests_at_once or requests_per_minute, "tokens": tokens_per_minute}
        self._namespace = namespace
        self._shared = shared
        self._shared_only = shared_only
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    async def charge(self, client: str, unit: str, cost: int) -> None:
        """Raises RateLimited where the allowance is used up, AboveRateLimit where it could never do, Uncounted."""
        limit, at_once = self._limits[unit], self._at_once[unit]
        if limit is None or at_once is None or cost == 0:
            return
        if cost > at_once:
            raise AboveRateLimit(unit, cost, at_once)
        second = MINUTE_SECONDS / limit
        wait_seconds = await self._take(f"{unit}:{client}", cost * second, at_once * second)
        if wait_seconds > 0:
            raise RateLimited(unit, limit, max(1, math.ceil(wait_seconds)))

    async def refund(self, client: str, unit: str, cost: int) -> None:
        """Gives back what was charged for a request that was refused for another reason."""
        limit = self._limits[unit]
        if limit is not None and cost:
            await self._take(f"{unit}:{client}", -cost * MINUTE_SECONDS / limit, MINUTE_SECONDS)

    async def _take(self, key: str, cost_seconds: float, at_once_seconds: float) -> float:
        if self._shared:
            name = f"eo:rate:1:{self._namespace}:{key}"
            answer = await self._shared.run_script(_SCRIPT, [name], [cost_seconds, at_once_seconds])
            if answer is not None:
                return float(answer)
            if self._shared_only:
                raise Uncounted
        return self._take_here(key, cost_seconds, at_once_seconds)

    def _take_here(self, key: str, cost_seconds: float, at_once_seconds: float) -> float:
        now = time.monotonic()
        after = max(now, self._whole_at.get(key, now)) + cost_seconds
        if after - now > at_once_seconds + ROUNDING_SECONDS:
            return after - now - at_once_seconds
        self._whole_at[key] = after
        self._whole_at.move_to_end(key)
        if len(self._whole_at) > MAX_CLIENTS:
            self._whole_at.popitem(last=False)
        return 0.0
