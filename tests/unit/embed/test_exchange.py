import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from embedding_serving.http.exchange import Exchange, HungUp
from embedding_serving.http.problems import ApiError

SCOPE = {"headers": [], "client": ("10.0.0.1", 1)}


def exchange(messages: Sequence[dict[str, Any]], headers: Sequence[tuple[bytes, bytes]] = ()) -> Exchange:
    """A client that sends `messages` and then nothing more."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: object) -> None: ...

    return Exchange({**SCOPE, "headers": list(headers)}, receive, send, closing=False)


def part(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"", b"bc"], [b"", b"abc"]])
async def test_a_body_is_put_together(parts: list[bytes]) -> None:
    messages = [part(body, more=index < len(parts) - 1) for index, body in enumerate(parts)]
    assert await exchange(messages).body(3) == b"abc"


async def test_a_body_that_trickles_in_forever_is_given_up() -> None:
    with pytest.raises(ApiError) as refused:
        await exchange([part(b"a", more=True)]).body(1_000, deadline_seconds=0.05)
    assert (refused.value.status, refused.value.code) == (408, "body_timeout")


async def test_headers_without_a_body_are_given_up() -> None:
    with pytest.raises(ApiError, match="did not arrive"):
        await exchange([], [(b"content-length", b"5")]).body(1_000, deadline_seconds=0.05)


@pytest.mark.parametrize("messages", [[], [part(b"a", more=True)]])
async def test_a_client_that_leaves_in_the_middle_is_noticed(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(HungUp):
        await exchange([*messages, {"type": "http.disconnect"}]).body(1_000)


@pytest.mark.parametrize("announced", [b"4", b"999999999999999999999"])
async def test_an_announced_size_above_the_limit_is_refused(announced: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        await exchange([part(b"abcd", more=False)], [(b"content-length", announced)]).body(3)
    assert refused.value.code == "body_too_large"
