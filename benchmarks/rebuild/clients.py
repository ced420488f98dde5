"""Writers and searchers in a process of their own, for as long as they are let: every request is a line of a file.

A connection has one request on its way and begins them at a fixed rate; after one that was slow it goes on from there, and
does not catch up.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson
import uvloop

from ..search.http_client import BadAnswer, Connection, request_bytes

SEARCH, WRITE = "search", "write"
BODY = {SEARCH: "/v1/search", WRITE: "/v1/documents"}
RETRY_SECONDS = 0.05
READY = "ready"


@dataclass(frozen=True)
class Words:
    """What is written, and what is searched for: no document has the text of a query."""

    documents: Sequence[str]
    queries: Sequence[str]

    @classmethod
    def read(cls, path: str) -> "Words":
        return cls(**orjson.loads(Path(path).read_bytes()))

    def write(self, path: Path) -> str:
        path.write_bytes(orjson.dumps({"documents": list(self.documents), "queries": list(self.queries)}))
        return str(path)


@dataclass(frozen=True)
class Job:
    """Rates are of all connections of a kind together. documents: that are overwritten, one a write. words: for both."""

    host: str
    port: int
    documents: int
    searches_per_second: float
    writes_per_second: float
    connections: int
    words: str
    lines: str


@dataclass(frozen=True)
class Request:
    """Times on the monotonic clock, which all processes of the machine share. failure: empty where it was answered 200."""

    kind: str
    begun: float
    ended: float
    generation: int
    failure: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


class Log:
    """What the clients have done so far, read from the file as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open()
        self._rest = ""
        self._requests: list[Request] = []

    def under_way(self, since: float, until: float, kind: str) -> list[Request]:
        """Requests that waited for their answer in this time, in the order of their answers."""
        return [one for one in self._of(kind) if one.ended >= since and one.begun < until]

    def answered(self, since: float, until: float, kind: str) -> list[Request]:
        return [one for one in self._of(kind) if since <= one.ended < until]

    def _of(self, kind: str) -> list[Request]:
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        self._requests += [Request(**json.loads(line)) for line in lines]
        return [one for one in self._requests if one.kind == kind]

    def close(self) -> None:
        self._file.close()


@asynccontextmanager
async def working(job: Job, folder: Path) -> AsyncIterator[Log]:
    """Clients at work, from their first request on."""
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(job)))
    Path(job.lines).touch()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, str(path), stdout=asyncio.subprocess.PIPE)
    log = Log(Path(job.lines))
    try:
        assert process.stdout
        if (await process.stdout.readline()).strip() != READY.encode():
            raise RuntimeError("the clients ended before they began: their words are above")
        yield log
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        log.close()


async def _work(job: Job, out: IO[str]) -> None:
    words = Words.read(job.words)
    searches = itertools.cycle(orjson.dumps({"query": query, "k": 10}) for query in words.queries)
    writes = _writes(job.documents, words.documents)
    bodies: dict[str, Iterator[bytes]] = {SEARCH: searches, WRITE: writes}
    rates = {SEARCH: job.searches_per_second, WRITE: job.writes_per_second}
    print(READY, flush=True)
    await asyncio.gather(
        *(
            _client(job, kind, bodies[kind], job.connections / rate, number / rate, out)
            for kind, rate in rates.items()
            for number in range(job.connections)
        )
    )


def _writes(documents: int, words: Sequence[str]) -> Iterator[bytes]:
    """Each gives a known document the text of another one."""
    for number in itertools.count():
        text = words[(number * 7 + 1) % len(words)]
        yield orjson.dumps({"documents": [{"id": str(number % documents), "text": text}]})


async def _client(job: Job, kind: str, bodies: Iterator[bytes], pace: float, offset: float, out: IO[str]) -> None:
    connection: Connection | None = None
    due = time.monotonic() + offset
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        begun, generation, failure = time.monotonic(), 0, ""
        try:
            connection = connection or await Connection.open(job.host, job.port)
            generation = _generation(kind, await connection.post(request_bytes(BODY[kind], next(bodies))))
        except (BadAnswer, OSError) as error:
            failure = str(error) or type(error).__name__
            connection = connection if isinstance(error, BadAnswer) else None
            await asyncio.sleep(RETRY_SECONDS)
        ended = time.monotonic()
        out.write(json.dumps(asdict(Request(kind, begun, ended, generation, failure))) + "\n")
        due = max(due + pace, ended - pace)


def _generation(kind: str, answer: bytes) -> int:
    said = orjson.loads(answer)
    if kind == WRITE and "error" in said["results"][0]:
        raise BadAnswer(str(said["results"][0]["error"]))
    return int(said.get("generation", 0))


if __name__ == "__main__":
    given = Job(**json.loads(Path(sys.argv[1]).read_text()))
    with Path(given.lines).open("a", buffering=1) as lines:
        uvloop.run(_work(given, lines))
