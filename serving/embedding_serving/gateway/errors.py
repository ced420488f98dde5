"""What a client is told of a failure behind the gateway."""

from ..contract.admin import Refusal
from ..http.problems import ApiError
from ..http.ratelimit import AboveRateLimit, RateLimited, Uncounted
from ..outgoing.failures import TextRefused, Unavailable
from ..wire.errors import BAD_REQUEST, TOO_LARGE
from .failures import ShardRefused

_REMEDIES = {
    Refusal.VOLUME_FULL: "the volume is full: let spec.storage.size grow, or delete documents",
    Refusal.READ_ONLY: "the volume is read-only",
    Refusal.CORRUPT: "the shard's database is damaged",
    Refusal.NO_FOLLOWER: "no follower confirmed the write in time; it may be stored: send it again with its Idempotency-Key",
}


def error_of(failure: Exception) -> ApiError | None:
    """None for a failure that is a bug of ours."""
    match failure:
        case ApiError():
            return failure
        case Unavailable():
            return ApiError(503, failure.code, failure.detail, retry_after_seconds=failure.retry_after_seconds)
        case TextRefused():
            return ApiError(413 if "too" in failure.code else 400, failure.code, failure.detail)
        case ShardRefused():
            return _refused(failure)
        case RateLimited():
            wait = failure.retry_after_seconds
            detail = f"this client has used its {failure.limit_per_minute} {failure.unit} a minute. Try again in {wait} s"
            return ApiError(429, "rate_limited", detail, retry_after_seconds=wait)
        case AboveRateLimit():
            return ApiError(413, "above_rate_limit", str(failure))
        case Uncounted():
            detail = "requests cannot be counted while Redis does not answer, and uncounted ones are not taken here"
            return ApiError(503, "rate_limit_unavailable", detail, retry_after_seconds=1)
    return None


def _refused(failure: ShardRefused) -> ApiError:
    code = failure.code
    if code == BAD_REQUEST:
        return ApiError(400, "invalid_request", failure.detail, field=failure.field)
    if code == TOO_LARGE:
        return ApiError(413, "too_large", failure.detail)
    if code in (Refusal.REQUEST_EXPIRED, Refusal.IDEMPOTENCY_KEY_REUSED):
        return ApiError(409, code, failure.detail)
    if code in _REMEDIES:
        detail = f"shard {failure.shard} does not take writes: {_REMEDIES[Refusal(code)]} ({failure.detail})"
        return ApiError(503, code, detail, retry_after_seconds=5)
    return ApiError(502, "shard_failed", f"shard {failure.shard}: {failure.detail} ({code})")
