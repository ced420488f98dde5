"""Why a call could not do what it was asked for, apart from faults of the request."""

from collections.abc import Mapping
from typing import Any


class Moved(Exception):
    """A shard speaks for another generation than the pinned one: pin anew, embed again, try again."""

    def __init__(self, detail: str, route: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.route = route


class Unavailable(Exception):
    """Something behind the gateway does not answer; another index may. code: of the problem."""

    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class EncoderUnavailable(Unavailable):
    code = "encoder_unavailable"


class EncodingFailed(EncoderUnavailable):
    """It failed on what it was given: another text it may embed."""


class TextRefused(Exception):
    """The encoder does not take a text. index: which of those it was given."""

    def __init__(self, index: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.index = index
        self.code = code
        self.detail = detail
