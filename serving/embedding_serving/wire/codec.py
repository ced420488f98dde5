"""One frame: `u32 length of what follows | u32 call | u8 kind | u24 head length`, a JSON head, a tail of raw bytes.

All numbers are little-endian. Answers carry the call of their request and come in any order. Call 0 belongs to the
connection: only an error before it is closed has it.
"""

import asyncio
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

VERSION = 1
CONNECTION_CALL = 0
LAST_CALL = (1 << 32) - 1
MAX_HEAD_BYTES = (1 << 24) - 1
MIB = 1 << 20
COPIED_BYTES = 16_384

Buffer = bytes | bytearray | memoryview

_HEADER = struct.Struct("<III")
_PREFIX_BYTES = 4
_FIXED_BYTES = _HEADER.size - _PREFIX_BYTES


class Kind(IntEnum):
    REQUEST = 0
    ANSWER = 1
    ERROR = 2


class FrameError(Exception):
    """The bytes are no frame, or a frame is too large; the message says which."""


class Frame(NamedTuple):
    """head, tail: views of what was received; they keep it alive."""

    call: int
    kind: int
    head: memoryview
    tail: memoryview


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection. Beyond calls and buffered bytes, no more is read from it until some are answered.

    idle_seconds: a connection from which nothing came for so long is closed; callers ping four times as often.
    """

    max_frame_bytes: int = 64 * MIB
    max_calls: int = 256
    max_buffered_bytes: int = 64 * MIB
    idle_seconds: float = 60.0


def encode(call: int, kind: Kind, head: Mapping[str, Any] | bytes, tail_bytes: int, max_frame_bytes: int) -> bytes:
    """Header and head of a frame whose tail of `tail_bytes` bytes is to follow. Raises FrameError where it is too large."""
    encoded = head if isinstance(head, bytes) else orjson.dumps(head)
    length = _FIXED_BYTES + len(encoded) + tail_bytes
    if len(encoded) > MAX_HEAD_BYTES or length > max_frame_bytes:
        raise FrameError(
            f"a message of {len(encoded)} + {tail_bytes} bytes is larger than {MAX_HEAD_BYTES} bytes of head "
            f"or {max_frame_bytes} bytes in all: ask for less at a time"
        )
    return _HEADER.pack(length, call, kind | len(encoded) << 8) + encoded


def write(transport: asyncio.Transport, header: bytes, tail: tuple[Buffer, ...]) -> None:
    """Sends one frame. Copying a short tail costs less than one more buffer in the kernel's list."""
    if sum(map(len, tail)) <= COPIED_BYTES:
        transport.write(b"".join((header, *tail)))
    else:
        transport.writelines((header, *tail))


class FrameParser:
    """Cuts a stream of bytes into frames. What is buffered is at most one frame and one chunk."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises FrameError, after those before the fault."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        view, at, end = memoryview(data), 0, len(data)
        self._needed = _HEADER.size
        while end - at >= _HEADER.size:
            length, call, packed = _HEADER.unpack_from(data, at)
            head_at = at + _HEADER.size
            split = head_at + (packed >> 8)
            after = at + _PREFIX_BYTES + length
            if length > self.max_frame_bytes or split > after:
                raise FrameError(
                    f"a frame of {length} bytes with a head of {packed >> 8}: at most {self.max_frame_bytes} are taken"
                )
            if after > end:
                self._needed = after - at
                break
            yield Frame(call, packed & 0xFF, view[head_at:split], view[split:after])
            at = after
        if at < end:
            self._buffer += view[at:]


def parse_head(head: memoryview) -> dict[str, Any]:
    """Raises FrameError where it is no JSON object."""
    try:
        parsed = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"the head is no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise FrameError("the head is no JSON object")
    return parsed
