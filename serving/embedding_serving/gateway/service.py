"""Everything that a request needs, put together once."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from ..contract.admin import GatewayInfo
from ..contract.settings import GatewaySettings
from ..http.problems import ApiError, invalid
from ..outgoing.encoder import Priority
from ..outgoing.failures import Unavailable
from ..redis_store import RedisStore
from .cache import ResultCache
from .gate import Call
from .keys import ApiKeys
from .metrics import Metrics
from .pods import Fleet
from .position import HEADER as POSITION_HEADER
from .position import parse_tokens
from .reads import ReadRequest, Reads
from .routes import Routes
from .search import Found, SearchContext, Searcher
from .search_request import Limits, Search
from .writes import WriteRequest, Writes

log = logging.getLogger(__name__)

FIRST_INDEX_SHARE = 0.6
"""Of a search's time, what the first index gets while there is another to fall back to."""
IDEMPOTENCY_HEADER = b"idempotency-key"
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Service:
    """fleet: of the index that is searched first; fleets: of the fallback too."""

    settings: GatewaySettings
    limits: Limits
    routes: Routes
    fleet: Fleet
    fleets: Sequence[Fleet]
    searcher: Searcher
    fallback: Searcher | None
    writes: Writes
    reads: Reads
    cache: ResultCache
    metrics: Metrics
    keys: ApiKeys
    shared: RedisStore | None
    version: str

    async def find(self, searches: Sequence[Search], context: SearchContext) -> tuple[Found, str | None]:
        """What was found, and the name of the fallback index where that has answered."""
        if self.fallback is None:
            return await self.searcher.find(searches, context), None
        first = SearchContext(context.deadline.share(FIRST_INDEX_SHARE), context.trace, context.tokens)
        try:
            return await self.searcher.find(searches, first), None
        except Unavailable as failure:
            log.warning("searching the fallback", extra={"request_id": context.trace, "reason": failure.detail[:300]})
            try:
                found = await self.fallback.find(searches, SearchContext(context.deadline, context.trace))
            except (Unavailable, ApiError) as second:
                if isinstance(second, ApiError) and second.code != "fingerprint_mismatch":
                    raise
                raise failure from second
            self.metrics.fallback.inc()
            return found, self.fallback.routes.index

    def search_context(self, call: Call) -> SearchContext:
        return SearchContext(
            call.deadline(self.settings.timeout_seconds), call.trace, parse_tokens(call.headers.get(POSITION_HEADER))
        )

    def read_request(self, call: Call, *, strong: bool = False) -> ReadRequest:
        deadline = call.deadline(self.settings.timeout_seconds)
        return ReadRequest(deadline, parse_tokens(call.headers.get(POSITION_HEADER)), strong)

    def write_request(self, call: Call, what: str, priority: Priority = Priority.INTERACTIVE) -> WriteRequest:
        """what: keeps requests of different kinds apart that come under one Idempotency-Key."""
        return WriteRequest(
            request_id=f"{what}:{idempotency_key(call)}",
            issued_at=time.time_ns() // 1_000_000,
            trace=call.trace,
            deadline=call.deadline(self.settings.write_timeout_seconds),
            priority=priority,
            keyed=IDEMPOTENCY_HEADER in call.headers,
        )

    def info(self) -> GatewayInfo:
        info = GatewayInfo(
            service=self.settings.service,
            index=self.settings.index,
            version=self.version,
            api_keys=self.keys.known,
            cache_available=self.shared.answers if self.shared else None,
            search_p99_ms=self.metrics.recent_latency.p99_milliseconds(),
        )
        route = self.routes.current
        if route is None:
            return info
        active = route.active
        following = {
            "generation": route.writer,
            "epoch": route.epoch,
            "seq": route.seq,
            "model": active.model,
            "revision": active.revision,
            "fingerprint": active.fingerprint,
            "dimensions": active.dimensions,
        }
        return info.model_copy(update=following)

    def stats(self) -> dict[str, Any]:
        """For a person: the route, and every pod as this gateway sees it."""
        pods = [
            {
                "generation": copies.generation,
                "shard": copies.shard,
                "pod": pod.name,
                "address": f"{pod.address[0]}:{pod.address[1]}",
                "role": pod.connection.hello.get("role") if pod.connection else None,
                "connected": pod.connected,
                "breaker": pod.breaker.state,
                "outstanding": pod.outstanding,
                "failure": pod.failure or None,
            }
            for fleet in self.fleets
            for copies, pod in fleet.pods()
        ]
        return {"info": self.info().model_dump(exclude_none=True), "pods": pods}

    def ready(self) -> str | None:
        """Why searches cannot be answered, None where they can: a route, and a copy of every shard."""
        route = self.routes.current
        if route is None:
            return "the route is not known yet"
        if self.settings.partial_results or self.fallback is not None:
            return None
        missing = [
            copies.shard
            for copies in self.fleet.shards(route.active).copies
            if not any(pod.reads for pod in copies.pods.values())
        ]
        return f"no copy of shard {missing[0]} answers" if missing else None


def idempotency_key(call: Call) -> str:
    """The client's Idempotency-Key, kept apart from other clients' by the id of its API key; or one of our own."""
    given = call.headers.get(IDEMPOTENCY_HEADER)
    if given is None:
        return f"{call.trace[:64]}-{token_hex(8)}"
    key = given.decode("latin-1")
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid(None, "the header Idempotency-Key takes 1 to 128 visible ASCII characters")
    return f"{call.principal.key_id or ''}/{key}"
