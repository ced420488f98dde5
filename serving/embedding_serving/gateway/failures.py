"""Why the gateway could not do what it was asked, apart from faults of the request."""

from collections.abc import Sequence

from ..outgoing.failures import Unavailable


class RouteUnavailable(Unavailable):
    code = "route_unavailable"


class ShardUnavailable(Unavailable):
    """shards: the numbers of those that did not answer."""

    code = "shard_unavailable"

    def __init__(self, shards: Sequence[int], detail: str) -> None:
        super().__init__(detail)
        self.shards = tuple(shards)


class ShardRefused(Exception):
    """A shard answered that it cannot do this one thing, and no copy could. code: a frame's."""

    def __init__(self, shard: int, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(f"shard {shard}: {detail}")
        self.shard = shard
        self.code = code
        self.detail = detail
        self.field = field
