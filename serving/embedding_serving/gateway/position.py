"""Read-your-writes: an opaque token that says what a write has reached, and that a later read may send back.

It holds the positions of the shards that took the write. Several, joined by commas, mean all of them.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from ..http.problems import ApiError

HEADER = b"x-index-position"
MAX_TOKEN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Positions:
    """by_shard: positions in the feeds of one generation's writers, as of one epoch: a lost volume begins a new feed."""

    generation: int
    epoch: int
    by_shard: Mapping[int, int]


def to_token(positions: Positions) -> str:
    raw = orjson.dumps([positions.generation, positions.epoch, list(positions.by_shard.items())])
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_tokens(header: bytes | None) -> list[Positions]:
    """Raises ApiError for what is none of ours."""
    if not header:
        return []
    if len(header) > MAX_TOKEN_BYTES:
        raise _unreadable()
    return [_parse(token.strip()) for token in header.split(b",")]


def wanted(tokens: list[Positions], generation: int, epoch: int) -> tuple[Mapping[int, int], bool]:
    """Positions that a read of `generation` has to reach, by shard; and whether only its writers surely have.

    Positions of another generation or epoch cannot be compared; the writers of this one have all that was acknowledged there.
    """
    positions: dict[int, int] = {}
    for token in tokens:
        if (token.generation, token.epoch) != (generation, epoch):
            return {}, True
        for shard, position in token.by_shard.items():
            positions[shard] = max(position, positions.get(shard, 0))
    return positions, False


def _parse(token: bytes) -> Positions:
    try:
        generation, epoch, pairs = orjson.loads(urlsafe_b64decode(token + b"=" * (-len(token) % 4)))
        by_shard = dict(pairs)
    except (ValueError, TypeError):
        raise _unreadable() from None
    numbers = [generation, epoch, *by_shard, *by_shard.values()]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _unreadable()
    return Positions(generation, epoch, by_shard)


def _unreadable() -> ApiError:
    return ApiError(400, "invalid_position", "the header X-Index-Position takes what a write answered in `position`")
