"""What the benchmark asks of a system under test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from .dataset import Dataset

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Loaded:
    """Seconds from the first document sent to all of them durable, and then to an index that serves them."""

    load_seconds: float
    build_seconds: float


class System(Protocol):
    """Entered and left as a context: servers run in between."""

    name: str
    efforts: ClassVar[Sequence[int]]
    """Values of the knob that trades speed for recall, rising; empty where the system sets it by itself."""
    in_process: ClassVar[bool]
    """The client is the server: one process does all the work of a measurement, and its time is the server's."""

    def __enter__(self) -> "System": ...

    def __exit__(self, *reason: object) -> None: ...

    def load(self, data: Dataset) -> Loaded: ...

    def command(self, job: Path) -> list[str]:
        """The client that does a job."""

    def target(self, effort: int | None) -> dict[str, Any]:
        """What the client needs to know."""

    def server_pids(self) -> Sequence[int]: ...

    def complaints(self) -> str:
        """What the servers have logged that explains a failure; empty where nothing."""
