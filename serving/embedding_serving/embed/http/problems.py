"""Errors of the role as its clients read them: RFC 9457 lets a problem carry more members.

Official clients read their own members: `error` as an object on the OpenAI route, `error` and `error_type` on TEI's.
"""

from enum import StrEnum

import orjson

from ...http.problems import ApiError, problem_of
from ...http.ratelimit import AboveRateLimit, RateLimited
from ..encoder import EncodeFailed, Encoder
from ..scheduler import LargerThanQueue, QueueFull
from ..tokens import TooManyTokens, UnknownToken


class Dialect(StrEnum):
    """Whose client reads the answer."""

    OWN = "own"
    OPENAI = "openai"
    TEI = "tei"


def error_of(failure: Exception, texts_field: str, encoder: Encoder) -> ApiError | None:
    """The error that tells a client of a failure of the service; None for one that is a bug of ours."""
    match failure:
        case ApiError():
            return failure
        case QueueFull():
            wait = encoder.retry_after_seconds()
            return ApiError(429, "queue_full", f"{failure}. Try again in {wait} s", retry_after_seconds=wait)
        case LargerThanQueue():
            return ApiError(413, "larger_than_queue", f"{failure}: send fewer texts in a request", field=texts_field)
        case RateLimited():
            wait = failure.retry_after_seconds
            detail = f"this client has used its {failure.limit_per_minute} {failure.unit} a minute. Try again in {wait} s"
            return ApiError(429, "rate_limited", detail, retry_after_seconds=wait)
        case AboveRateLimit():
            return ApiError(413, "above_rate_limit", f"{failure}: send fewer texts in a request", field=texts_field)
        case TooManyTokens():
            detail = f"{failure}: shorten it, or let it be cut with truncate: true"
            return ApiError(413, "too_many_tokens", detail, field=f"{texts_field}[{failure.index}]")
        case UnknownToken():
            return ApiError(400, "unknown_token", str(failure), field=f"{texts_field}[{failure.index}]")
        case EncodeFailed():
            return ApiError(500, "encode_failed", str(failure))
    return None


def render(error: ApiError, dialect: Dialect, request_id: str) -> bytes:
    problem = problem_of(error, request_id)
    if dialect is Dialect.OPENAI:
        problem["error"] = {
            "message": error.detail, "type": _openai_type(error.status), "param": error.field, "code": error.code
        }  # fmt: skip
    elif dialect is Dialect.TEI:
        problem |= {"error": error.detail, "error_type": _tei_type(error)}
    return orjson.dumps(problem)


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _tei_type(error: ApiError) -> str:
    if error.status == 429:
        return "Overloaded"
    if error.status < 500:
        return "Validation"
    return "Unhealthy" if error.status == 503 else "Backend"
