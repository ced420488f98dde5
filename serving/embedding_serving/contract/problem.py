"""Errors over HTTP: `application/problem+json` (RFC 9457) with a stable code."""

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """`code` is stable and for programs, `detail` names value and remedy for people, `field` is the path in the request."""

    model_config = ConfigDict(frozen=True)

    code: str
    title: str
    status: int
    detail: str
    field: str | None = None
    request_id: str | None = None
