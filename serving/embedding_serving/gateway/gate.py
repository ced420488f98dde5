"""The door of the API port: everything that is true of every request, and the dispatch of the hot routes.

Hot routes stay off FastAPI: its validation would cost a search several times what the gateway does for it.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ..http.body import parse_object
from ..http.exchange import JSON, Exchange, Header, HungUp, Message, Receive, Send
from ..http.problems import ApiError, invalid
from ..http.ratelimit import RateLimiter, client_id
from ..outgoing.deadline import Deadline
from .errors import error_of
from .keys import ApiKeys, Principal, Role, check_role
from .metrics import Metrics

log = logging.getLogger(__name__)

HELD_BODIES = 8
"""Bodies of the largest size that may be in memory at once; beyond, requests get 429."""
HUNG_UP_STATUS = 499
DOCUMENTS = "/v1/documents/"
TIMEOUT_HEADER = b"x-timeout"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. parameters: of its query string; raw: its body; body: the same, parsed; id: of the document in the path."""

    exchange: Exchange
    principal: Principal
    parameters: dict[str, str]
    raw: bytes = b""
    id: str = ""

    @property
    def headers(self) -> dict[bytes, bytes]:
        return self.exchange.headers

    @property
    def trace(self) -> str:
        return self.exchange.request_id

    def body(self) -> dict[str, Any]:
        return parse_object(self.raw) if self.raw else {}

    def deadline(self, most_seconds: float) -> Deadline:
        """By the header X-Timeout, in seconds; the service's own limit where it is absent or larger."""
        given = self.headers.get(TIMEOUT_HEADER)
        if given is None:
            return Deadline.after(most_seconds)
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise invalid(None, "the header X-Timeout takes a number of seconds above 0")
        return Deadline.after(min(seconds, most_seconds))


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    headers: Sequence[Header] = ()
    status: int = 200
    content_type: bytes = JSON


@dataclass(frozen=True, slots=True)
class HotRoute:
    """name: of the route in metrics. parameters: those that it reads. stream: answers by itself and reads the body as it
    comes.
    """

    method: str
    path: str
    role: Role
    handle: Callable[[Call], Coroutine[Any, Any, Answer]] | None = None
    stream: Callable[[Call], Awaitable[None]] | None = None
    parameters: Sequence[str] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Gate:
    """The ASGI application of the API port. `surface` answers what is not a hot route; guarded: what of it needs a key."""

    def __init__(
        self,
        *,
        routes: Iterable[HotRoute],
        surface: Any,
        guarded: dict[str, Role],
        keys: ApiKeys,
        limiter: RateLimiter,
        metrics: Metrics,
        max_body_bytes: int,
        draining: Callable[[], bool],
    ) -> None:
        self._routes: dict[str, dict[str, HotRoute]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route
        self._by_id = self._routes.pop(DOCUMENTS + "{id}", {})
        self._surface = surface
        self._guarded = guarded
        self._keys = keys
        self._limiter = limiter
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._draining = draining
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        methods, id_ = self._routes.get(path), ""
        if path.startswith(DOCUMENTS) and (methods is None or method not in methods) and method in self._by_id:
            methods, id_ = self._by_id, path.removeprefix(DOCUMENTS)
        if methods is None and path.startswith(DOCUMENTS):
            methods = self._by_id
        exchange = Exchange(scope, receive, send, closing=self._draining())
        if methods is None:
            await self._cold(exchange, scope, receive, send)
            return
        route = methods.get(method)
        begun = time.perf_counter()
        self._metrics.in_flight += 1
        principal: Principal | None = None
        try:
            if route is None:
                raise ApiError(405, "method_not_allowed", f"{path} takes {', '.join(methods)}")
            principal = self._keys.principal(exchange.headers)
            check_role(principal, route.role)
            await self._charge(exchange, principal)
            await self._answered(exchange, route, principal, scope["query_string"].decode("latin-1"), id_)
        except HungUp:
            log.debug("the client hung up", extra={"request_id": exchange.request_id, "route": path})
        except Exception as failure:
            await self._refused(exchange, path, principal, failure)
        finally:
            self._metrics.in_flight -= 1
            seconds = time.perf_counter() - begun
            status = exchange.status or HUNG_UP_STATUS
            name = route.name if route is not None else "other"
            self._metrics.request(name, status, seconds)
            if log.isEnabledFor(logging.DEBUG):
                fields = {"request_id": exchange.request_id, "route": name, "status": status, "seconds": round(seconds, 4)}
                log.debug("answered", extra=fields | {"key": principal.key_id if principal else None})

    async def _answered(self, exchange: Exchange, route: HotRoute, principal: Principal, query: str, id_: str) -> None:
        parameters = _parameters(query, route) if query else {}
        if route.stream is not None:
            await route.stream(Call(exchange, principal, parameters))
            return
        assert route.handle is not None  # noqa: S101 - a route has one of the two
        body = await exchange.body(self._max_body_bytes)
        self._hold(len(body))
        try:
            answer = await exchange.unless_hung_up(route.handle(Call(exchange, principal, parameters, body, id_)))
        finally:
            self._held_bytes -= len(body)
        await exchange.answer(answer.status, answer.content_type, answer.body, answer.headers)

    async def _cold(self, exchange: Exchange, scope: Message, receive: Receive, send: Send) -> None:
        needed = self._guarded.get(scope["path"])
        if needed is not None:
            try:
                check_role(self._keys.principal(exchange.headers), needed)
            except ApiError as error:
                await exchange.refuse(error)
                return
        await self._surface(scope, receive, send)

    async def _charge(self, exchange: Exchange, principal: Principal) -> None:
        client = f"id:{principal.key_id}" if principal.key_id else client_id(None, exchange.address)
        await self._limiter.charge(client, "requests", 1)

    def _hold(self, size: int) -> None:
        """Keeps the memory that waiting requests take within bounds, whatever their number."""
        if self._held_bytes and self._held_bytes + size > HELD_BODIES * self._max_body_bytes:
            raise ApiError(429, "bodies_full", "too many large requests at once. Try again in 1 s", retry_after_seconds=1)
        self._held_bytes += size

    async def _refused(self, exchange: Exchange, path: str, principal: Principal | None, failure: Exception) -> None:
        error = error_of(failure)
        if error is None:
            log.error("a request failed", exc_info=failure, extra={"request_id": exchange.request_id, "route": path})
            error = ApiError(500, "internal", "the server failed on this request; its log has the trace under the request id")
        self._metrics.rejected(error.code)
        log.log(
            logging.DEBUG if error.status in (401, 429) else logging.INFO,
            "refused: %s", error.detail,
            extra={
                "request_id": exchange.request_id, "route": path, "status": error.status, "code": error.code,
                "key": principal.key_id if principal else None,
            },
        )  # fmt: skip
        if exchange.status is None:
            await exchange.refuse(error)


def _parameters(query: str, route: HotRoute) -> dict[str, str]:
    """Raises ApiError for one that nobody reads."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = given.keys() - set(route.parameters)
    if unknown:
        name = min(unknown)[:100]
        takes = f"{route.method} {route.path} takes {', '.join(route.parameters) or 'none: members go into the body'}"
        raise ApiError(400, "unknown_field", f"there is no parameter {name!r} here: {takes}", field=name)
    return given


def json_answer(value: Any, headers: Sequence[Header] = (), status: int = 200) -> Answer:
    return Answer(orjson.dumps(value), headers, status)
