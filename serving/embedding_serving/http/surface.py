"""Errors of the routes that FastAPI serves, in the form that the hot routes give them."""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from .exchange import request_id_of
from .problems import CONTENT_TYPE, ApiError, error_headers, render

Render = Callable[[ApiError, Request, str], bytes]


def add_errors(app: FastAPI, render_for: Render | None = None) -> None:
    """render_for: the body of an error, where clients of some routes expect more than the plain problem document."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        request_id = request_id_of(dict(request.scope["headers"]))
        body = render_for(error, request, request_id) if render_for else render(error, request_id)
        headers = {name.decode(): value.decode() for name, value in error_headers(error)}
        return Response(body, error.status, headers | {"x-request-id": request_id}, CONTENT_TYPE.decode())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            return await api_error(
                request, ApiError(405, "method_not_allowed", f"{request.url.path} does not take {request.method}")
            )
        detail = f"there is no {request.url.path} here: /openapi.json lists what is"
        return await api_error(request, ApiError(error.status_code, "not_found", detail))
