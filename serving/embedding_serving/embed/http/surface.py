"""Everything that is not hot: identity, health, metrics, and the documentation of the whole API.

The same application answers on both ports; the admin port has nothing else.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ...contract.model import Task
from ...contract.reports import HEALTH_PATH, INFO_PATH, METRICS_PATH, READY_PATH, ModelInfo
from ...http.problems import ApiError
from ...http.surface import add_errors
from ..lifecycle import Lifecycle, Phase
from .openapi import document_hot_routes
from .problems import Dialect, render


def build_surface(lifecycle: Lifecycle, version: str) -> FastAPI:
    app = FastAPI(title="Embedding server", version=version, description="Texts in, vectors out.", redoc_url=None)
    _add_health(app, lifecycle)
    _add_identity(app, lifecycle)
    add_errors(app, _render)
    document_hot_routes(app)
    return app


def _add_health(app: FastAPI, lifecycle: Lifecycle) -> None:
    @app.get(HEALTH_PATH, summary="Whether the process is sound; a restart is the remedy where it is not")
    async def healthz() -> Response:
        sickness = lifecycle.service.encoder.sickness() if lifecycle.service else None
        return JSONResponse({"status": sickness or "ok"}, 503 if sickness else 200)

    @app.get(READY_PATH, summary="Whether to send requests here")
    async def readyz() -> Response:
        ready = lifecycle.phase is Phase.SERVING
        return JSONResponse({"status": lifecycle.phase}, 200 if ready else 503)

    app.add_api_route("/health", healthz, include_in_schema=False)

    @app.get(METRICS_PATH, summary="Metrics, in Prometheus' text format", response_class=Response)
    async def metrics() -> Response:
        return Response(lifecycle.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_identity(app: FastAPI, lifecycle: Lifecycle) -> None:
    def info_or_refuse() -> ModelInfo:
        if lifecycle.info is None:
            raise ApiError(503, "starting", "the model is being loaded. Try again in 1 s", retry_after_seconds=1)
        return lifecycle.info

    @app.get(INFO_PATH, summary="Identity of the model and of its vector space")
    async def info() -> ModelInfo:
        return info_or_refuse()

    @app.get("/v1/models", summary="The model, as OpenAI's clients list it")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_openai_model(info_or_refuse())]}

    @app.get("/v1/models/{name}", summary="The model, as OpenAI's clients look it up")
    async def model(name: str) -> dict[str, Any]:
        known = info_or_refuse()
        if name != known.model:
            raise ApiError(404, "model_not_found", f"the model {name!r} is not served here: this server has {known.model!r}")
        return _openai_model(known)

    @app.get("/info", summary="The model, as text-embeddings-inference tells of it")
    async def tei_info() -> dict[str, Any]:
        return _tei_info(info_or_refuse())


def _openai_model(info: ModelInfo) -> dict[str, Any]:
    return {"id": info.model, "object": "model", "created": 0, "owned_by": "embedding-operator"}


def _tei_info(info: ModelInfo) -> dict[str, Any]:
    kind = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    if info.task is Task.EMBED:
        kind = {"embedding": {"pooling": info.pooling.lower()}}
    return {
        "model_id": info.model,
        "model_sha": info.fingerprint,
        "model_dtype": info.precision.lower(),
        "model_type": kind,
        "max_input_length": info.max_tokens,
        "max_batch_tokens": info.max_batch_tokens,
        "tokenization_workers": info.workers,
        "version": info.version,
    }


def _render(error: ApiError, request: Request, request_id: str) -> bytes:
    dialect = Dialect.OPENAI if request.url.path.startswith("/v1/models") else Dialect.OWN
    return render(error, dialect, request_id)
