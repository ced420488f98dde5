"""What a handler gets and gives."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .codec import Buffer


@dataclass(frozen=True, slots=True)
class Call:
    """One request. tail: valid as long as it is referred to. deadline: in the loop's time, or None."""

    op: str
    head: dict[str, Any]
    tail: memoryview
    peer: str
    deadline: float | None


class Reply(NamedTuple):
    """head: a JSON object, or its bytes. tail: buffers of bytes (`memoryview(array).cast("B")`), sent one after the other."""

    head: Mapping[str, Any] | bytes
    tail: tuple[Buffer, ...] = ()


Handler = Callable[[Call], Reply | Awaitable[Reply]]
"""A Reply is sent at once; an awaitable runs as a task, which the caller's cancel, its deadline or its end cancels.

Raises WireError to refuse. Anything else that it raises is logged and answered as `internal`.
"""

Observer = Callable[[str, str, float], None]
"""Told of every call that ended: op, code (`ok` or the error's), seconds since it was read."""

OK = "ok"
CANCELLED = "cancelled"
