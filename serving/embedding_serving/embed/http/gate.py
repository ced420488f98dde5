"""The door of the API port: everything that is true of every request, and the dispatch of the hot routes.

Hot routes stay off FastAPI: with 32 vectors in an answer its validation costs several times the encoding to JSON.
"""

import logging
import time
from collections.abc import Iterable

from ...contract.settings import EmbedSettings
from ...http.body import parse_object
from ...http.exchange import Exchange, HungUp, Message, Receive, Send
from ...http.problems import ApiError
from ...http.ratelimit import client_id
from ..lifecycle import Lifecycle, Phase
from .call import Answer, Call, HotRoute
from .fields import TextLimits
from .problems import error_of, render

log = logging.getLogger(__name__)

HELD_BODIES = 8
"""Bodies of the largest size that may be in memory at once; beyond, requests get 429."""
HUNG_UP_STATUS = 499


class Gate:
    """The ASGI application of the API port. `surface` answers what is not a hot route."""

    def __init__(self, lifecycle: Lifecycle, settings: EmbedSettings, routes: Iterable[HotRoute], surface: object) -> None:
        self._lifecycle = lifecycle
        self._max_body_bytes = settings.max_body_bytes
        self._limits = TextLimits.of(settings)
        self._routes = {route.path: route for route in routes}
        self._surface = surface
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope.get("path", "")) if scope["type"] == "http" else None
        if route is None or (scope["method"] == "GET" and route.path == "/"):
            await self._surface(scope, receive, send)  # type: ignore[operator]
            return
        started = time.perf_counter()
        exchange = Exchange(scope, receive, send, closing=self._lifecycle.phase is Phase.DRAINING)
        with self._lifecycle.metrics.in_flight.track_inprogress():
            await self._answered(exchange, route, scope["method"])
        seconds = time.perf_counter() - started
        status = exchange.status or HUNG_UP_STATUS
        self._lifecycle.metrics.request(route.path, status, seconds)
        if log.isEnabledFor(logging.DEBUG):
            fields = {"request_id": exchange.request_id, "route": route.path, "status": status, "seconds": round(seconds, 4)}
            log.debug("answered", extra=fields)

    async def _answered(self, exchange: Exchange, route: HotRoute, method: str) -> None:
        try:
            if method != "POST":
                raise ApiError(405, "method_not_allowed", f"{route.path} takes POST")
            answer = await self._handled(exchange, route)
            await exchange.answer(200, answer.content_type, answer.body, answer.headers)
        except HungUp:
            log.debug("the client hung up", extra={"request_id": exchange.request_id, "route": route.path})
        except Exception as failure:
            await self._refused(exchange, route, failure)

    async def _handled(self, exchange: Exchange, route: HotRoute) -> Answer:
        service, info = self._lifecycle.service, self._lifecycle.info
        if service is None or info is None:
            raise ApiError(503, "starting", "the model is being loaded. Try again in 1 s", retry_after_seconds=1)
        if info.task is not route.task:
            raise ApiError(
                400, "wrong_task", f"{route.path} needs a model of task {route.task}, but {info.model} is of task {info.task}"
            )
        body = await exchange.body(self._max_body_bytes)
        self._hold(len(body))
        try:
            client = client_id(exchange.headers.get(b"authorization"), exchange.address)
            call = Call(service, info, self._limits, client, exchange.headers, parse_object(body))
            return await exchange.unless_hung_up(route.handle(call))
        finally:
            self._held_bytes -= len(body)

    def _hold(self, size: int) -> None:
        """Keeps the memory that waiting requests take within bounds, whatever their number."""
        if self._held_bytes and self._held_bytes + size > HELD_BODIES * self._max_body_bytes:
            raise ApiError(429, "bodies_full", "too many large requests at once. Try again in 1 s", retry_after_seconds=1)
        self._held_bytes += size

    async def _refused(self, exchange: Exchange, route: HotRoute, failure: Exception) -> None:
        service = self._lifecycle.service
        error = failure if isinstance(failure, ApiError) else None
        if error is None and service is not None:
            error = error_of(failure, route.texts_field, service.encoder)
        if error is None:
            log.error("a request failed", exc_info=failure, extra={"request_id": exchange.request_id, "route": route.path})
            error = ApiError(500, "internal", "the server failed on this request; its log has the trace under the request id")
        self._lifecycle.metrics.rejected(error.code)
        log.log(
            logging.DEBUG if error.status == 429 else logging.INFO,
            "refused: %s", error.detail,
            extra={"request_id": exchange.request_id, "route": route.path, "status": error.status, "code": error.code},
        )  # fmt: skip
        if exchange.status is None:
            await exchange.refuse(error, render(error, route.dialect, exchange.request_id))
