"""Everything that is not hot: health, identity, metrics, what the operator says, and the documentation of the API."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from ..contract.admin import ADMIN_PATH, GATEWAY_INFO_PATH, GatewayInfo, PushRoute
from ..contract.reports import HEALTH_PATH, METRICS_PATH, READY_PATH
from ..http.admin_tokens import TokenCheck
from ..http.problems import ApiError
from ..http.surface import add_errors
from .keys import Role
from .openapi import document_hot_routes
from .routes import Routes
from .service import Service

log = logging.getLogger(__name__)

STATS_PATH = "/stats"
ROUTE_PATH = f"{ADMIN_PATH}/route"
MAX_ROUTE_BYTES = 1 << 20
GUARDED = {GATEWAY_INFO_PATH: Role.READ, STATS_PATH: Role.ADMIN, METRICS_PATH: Role.ADMIN}
"""What needs an API key on the API port; the admin port is for the cluster."""


def build_surface(service: Service, draining: Callable[[], bool]) -> FastAPI:
    """Of the API port."""
    app = FastAPI(title="Search service", version=service.version, description="Documents in, answers out.", redoc_url=None)
    _add_health(app, service, draining)
    add_errors(app)
    document_hot_routes(app)
    return app


def build_admin(service: Service, draining: Callable[[], bool], check_token: TokenCheck, indexes: list[Routes]) -> FastAPI:
    """Of the admin port: the same, and what the operator pushes."""
    app = FastAPI(title="Search service, admin", version=service.version, openapi_url=None)
    _add_health(app, service, draining)
    add_errors(app)

    @app.post(ROUTE_PATH, summary="A newer route")
    async def push_route(request: Request) -> GatewayInfo:
        check_token(request.headers.get("authorization"))
        pushed = await _pushed(request)
        routes = next((one for one in indexes if one.index == pushed.route.index), None)
        if routes is None:
            names = " or ".join(repr(one.index) for one in indexes)
            raise ApiError(
                409, "wrong_index", f"the route is of index {pushed.route.index!r}: here is {names}", field="route.index"
            )
        try:
            routes.offer(pushed.route)
        except KeyError as error:
            raise ApiError(400, "invalid_request", f"the route names no generation {error}", field="route.writer") from None
        except ValueError as error:
            raise ApiError(409, "wrong_index", str(error), field="route.namespace") from None
        return service.info()

    return app


def _add_health(app: FastAPI, service: Service, draining: Callable[[], bool]) -> None:
    @app.get(HEALTH_PATH, summary="Whether the process is sound; a restart is the remedy where it is not")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(READY_PATH, summary="Whether to send requests here")
    async def readyz() -> Response:
        reason = "draining" if draining() else service.ready()
        return JSONResponse({"status": reason or "serving"}, 503 if reason else 200)

    @app.get(METRICS_PATH, summary="Metrics, in Prometheus' text format", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(STATS_PATH, summary="The route, and every pod of the shards as this gateway sees it")
    async def stats() -> dict[str, Any]:
        return service.stats()

    @app.get(GATEWAY_INFO_PATH, summary="The index, its generation and its vector space")
    async def info() -> GatewayInfo:
        return service.info()


async def _pushed(request: Request) -> PushRoute:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_ROUTE_BYTES:
            raise ApiError(413, "body_too_large", f"a route has at most {MAX_ROUTE_BYTES} bytes")
    try:
        return PushRoute.model_validate_json(bytes(raw))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, "invalid_request", f"{field or 'the body'}: {first['msg']}", field=field) from None
