"""Errors over HTTP: `application/problem+json` with a stable code (RFC 9457)."""

from typing import Any

import orjson

from ..contract.problem import Problem

CONTENT_TYPE = b"application/problem+json"

TITLES = {
    400: "The request is not valid",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long to arrive",
    409: "The request does not fit the state of the server",
    413: "The request is too large",
    415: "The body is of another type",
    429: "Too many requests",
    500: "The server failed",
    502: "A server behind this one failed",
    503: "The server is not ready",
    504: "The server took too long",
}


class ApiError(Exception):
    """What a client did wrong, or what it has to wait for. `field` is the path in the body: `input[3]`."""

    def __init__(
        self, status: int, code: str, detail: str, *, field: str | None = None, retry_after_seconds: int | None = None
    ):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after_seconds = retry_after_seconds


def invalid(field: str | None, detail: str) -> ApiError:
    return ApiError(400, "invalid_request", detail, field=field)


def problem_of(error: ApiError, request_id: str) -> dict[str, Any]:
    return Problem(
        code=error.code,
        title=TITLES.get(error.status, "Error"),
        status=error.status,
        detail=error.detail,
        field=error.field,
        request_id=request_id,
    ).model_dump(exclude_none=True)


def render(error: ApiError, request_id: str) -> bytes:
    return orjson.dumps(problem_of(error, request_id))


def error_headers(error: ApiError) -> list[tuple[bytes, bytes]]:
    """Headers that belong to an error: when to come back, and how to say who one is."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
