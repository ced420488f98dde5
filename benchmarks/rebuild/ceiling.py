"""What an encoder gives at most: a client that does nothing but ask, as many texts at once as the shards of a rebuild do."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

import aiohttp
import orjson

from embedding_serving.shard.embedding import PIECE_ROWS, WINDOW_PIECES

PATH = "/v1/embeddings"
HEADERS = {
    "content-type": "application/json",
    "accept": "application/octet-stream",
    "x-embedding-priority": "bulk",
}


class Ceiling:
    """Goes on through the texts from one measurement to the next."""

    def __init__(self, url: str, texts: Sequence[str], shards: int) -> None:
        self._url = url + PATH
        self._at_once = shards * WINDOW_PIECES
        bodies = [
            orjson.dumps({"input": texts[start : start + PIECE_ROWS], "input_type": "document"})
            for start in range(0, len(texts) - PIECE_ROWS + 1, PIECE_ROWS)
        ]
        self._bodies: Iterator[bytes] = itertools.cycle(bodies)

    async def texts_per_second(self, seconds: float) -> float:
        begun = time.monotonic()
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            done = await asyncio.gather(*(self._ask(session, begun + seconds) for _ in range(self._at_once)))
        return sum(done) / (time.monotonic() - begun)

    async def _ask(self, session: aiohttp.ClientSession, until: float) -> int:
        done = 0
        while time.monotonic() < until:
            async with session.post(self._url, data=next(self._bodies)) as answer:
                answer.raise_for_status()
                await answer.read()
            done += PIECE_ROWS
        return done
