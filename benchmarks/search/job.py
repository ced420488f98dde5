"""What a client process is told, and what it answers. Needs numpy alone: the peers' clients have an environment of their own.

A client gets the path of a job, connects, warms up, prints `ready`, waits for a line on its standard input, works for
the time that the job says, prints `done`, and leaves its results in a file.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

K = 10
WARM_UP_QUERIES = 30
DATA_FILES = ("documents.npy", "queries.npy", "payloads.ndjson", "percentiles.npy")


@dataclass(frozen=True)
class Search:
    """`percent` of the documents pass the filter; None = no filter. Queries are taken in turn, from `first` on."""

    connections: int
    seconds: float
    percent: int | None = None
    first: int = 0


@dataclass(frozen=True)
class Upsert:
    """Replaces documents by themselves, `first` and on, `batch` a request; `rate` documents a second at most in all."""

    connections: int
    seconds: float
    batch: int
    first: int = 0
    rate: float | None = None


@dataclass(frozen=True)
class Job:
    """Exactly what is not None is done, at once. `data` is the folder of DATA_FILES, `target` the system's own."""

    data: str
    result: str
    target: Mapping[str, Any]
    search: Search | None = None
    upsert: Upsert | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Job":
        content = json.loads(path.read_text())
        search, upsert = content.pop("search"), content.pop("upsert")
        return cls(search=Search(**search) if search else None, upsert=Upsert(**upsert) if upsert else None, **content)

    @property
    def queries(self) -> npt.NDArray[np.float32]:
        """float32 [n, dim]"""
        return np.load(Path(self.data) / "queries.npy", allow_pickle=False)  # type: ignore[no-any-return]

    @property
    def documents(self) -> npt.NDArray[np.float32]:
        """float32 [n, dim], mapped"""
        return np.load(Path(self.data) / "documents.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    @property
    def percentiles(self) -> npt.NDArray[np.int64]:
        """int64 [n]: a document passes the filter of p percent if its percentile is below p."""
        return np.load(Path(self.data) / "percentiles.npy", allow_pickle=False)  # type: ignore[no-any-return]

    def payloads(self) -> list[dict[str, Any]]:
        """`{text, metadata}` of each document; the metadata has its percentile."""
        with (Path(self.data) / "payloads.ndjson").open("rb") as file:
            return [json.loads(line) for line in file]


@dataclass
class Result:
    """`answers`: int64 [queries, K], the document numbers of the first answer to each query; -1 where there is none."""

    queries: int
    seconds: list[float] = field(default_factory=list)
    acknowledged: int = 0
    started: float = 0.0
    ended: float = 0.0

    def __post_init__(self) -> None:
        self.answers = np.full((self.queries, K), -1, np.int64)

    def write(self, path: str) -> None:
        np.savez(
            path,
            seconds=np.array(self.seconds),
            answers=self.answers,
            acknowledged=self.acknowledged,
            elapsed=self.ended - self.started,
        )


def await_start() -> None:
    """Tells that all is connected and warm, and waits for the others."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("the benchmark has gone")


def announce_end() -> None:
    print("done", flush=True)


def now() -> float:
    return time.perf_counter()
