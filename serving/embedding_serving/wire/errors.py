"""How a call ends without an answer."""

from collections.abc import Mapping
from typing import Any

BAD_REQUEST = "bad_request"
DEADLINE = "deadline"
OVERLOADED = "overloaded"
UNKNOWN_OP = "unknown_op"
INTERNAL = "internal"
TOO_LARGE = "too_large"


class CallFailed(Exception):
    """Any of the below."""


class WireError(CallFailed):
    """The other side refused: an error frame. code: a Refusal of the contract or one of this module's.

    route: the newer route as JSON, with the code `moved`. retry_after: seconds.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        route: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.field = field
        self.route = route
        self.retry_after = retry_after

    def head(self) -> dict[str, Any]:
        """Head of the error frame."""
        head: dict[str, Any] = {"code": self.code, "detail": self.detail}
        if self.field is not None:
            head["field"] = self.field
        if self.route is not None:
            head["route"] = self.route
        if self.retry_after is not None:
            head["retry_after_ms"] = round(self.retry_after * 1000)
        return head

    @classmethod
    def parse(cls, head: Mapping[str, Any]) -> "WireError":
        wait = head.get("retry_after_ms")
        return cls(
            str(head.get("code", INTERNAL)),
            str(head.get("detail", "")),
            field=head.get("field"),
            route=head.get("route"),
            retry_after=None if wait is None else wait / 1000,
        )


class ConnectionLost(CallFailed):
    """The connection could not be made or broke. Whether the call was done is not known."""


class DeadlineExceeded(CallFailed):
    """No answer in time. Whether the call was done is not known."""
