"""The admin port of a shard: what the operator tells it, and what it says of itself."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from .. import __version__
from ..contract.admin import (
    ADMIN_PATH,
    SHARD_INFO_PATH,
    Activate,
    Answer,
    Fence,
    Follow,
    Message,
    Pace,
    Prepare,
    Readmit,
    Release,
    Retire,
    Seal,
    ShardInfo,
    Unfence,
)
from ..contract.reports import HEALTH_PATH, METRICS_PATH, READY_PATH
from ..http.admin_tokens import TokenCheck
from ..http.exchange import Exchange
from ..http.problems import ApiError, invalid
from ..http.surface import add_errors
from .lifecycle import Lifecycle
from .store.records import Refused, StoreError

MAX_MESSAGE_BYTES = 1 << 20
MESSAGES: Mapping[str, type[Message]] = {
    "fence": Fence,
    "seal": Seal,
    "follow": Follow,
    "prepare": Prepare,
    "retire": Retire,
    "readmit": Readmit,
    "activate": Activate,
    "unfence": Unfence,
    "release": Release,
    "pace": Pace,
}


def build_admin(lifecycle: Lifecycle, check: TokenCheck) -> FastAPI:
    app = FastAPI(title="Shard", version=__version__, description="One copy of one shard of a VectorIndex.", redoc_url=None)
    _add_health(app, lifecycle)
    _add_commands(app, lifecycle, check)
    add_errors(app)
    return app


def _add_health(app: FastAPI, lifecycle: Lifecycle) -> None:
    @app.get(HEALTH_PATH, summary="Whether the process is sound; a restart is the remedy where it is not")
    async def healthz() -> Response:
        sickness = lifecycle.service.sickness if lifecycle.service else None
        return JSONResponse({"status": sickness or "ok"}, 503 if sickness else 200)

    @app.get(READY_PATH, summary="Whether this copy answers")
    async def readyz() -> Response:
        return JSONResponse({"status": lifecycle.status()}, 200 if lifecycle.is_ready else 503)

    @app.get(METRICS_PATH, summary="Metrics, in Prometheus' text format", response_class=Response)
    def metrics() -> Response:
        return Response(lifecycle.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(SHARD_INFO_PATH, summary="Identity, state and faults of this copy")
    def info() -> ShardInfo:
        return lifecycle.info()


def _add_commands(app: FastAPI, lifecycle: Lifecycle, check: TokenCheck) -> None:
    @app.post(f"{ADMIN_PATH}/{{name}}", summary="A message of the operator, with its token")
    async def command(name: str, request: Request) -> Answer:
        check(request.headers.get("authorization"))
        message_type = MESSAGES.get(name)
        if message_type is None:
            raise ApiError(404, "not_found", f"there is no message {name!r}: there are {', '.join(MESSAGES)}")
        body = await Exchange(request.scope, request.receive, request._send, closing=False).body(MAX_MESSAGE_BYTES)
        message = _parsed(message_type, body)
        try:
            return await lifecycle.serving().command(message)
        except Refused as refused:
            raise ApiError(409, refused.code.value, refused.detail) from refused
        except StoreError as error:
            raise ApiError(503, "store_failed", str(error)) from error


def _parsed(message_type: type[Message], body: bytes) -> Message:
    try:
        return message_type.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise invalid(path or None, f"{path}: {first['msg']}") from None
