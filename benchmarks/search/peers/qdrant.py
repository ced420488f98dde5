"""Qdrant's engine, called in process: no wire, no server. What a wire and JSON cost the others, it does not pay."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..dataset import Dataset
from ..system import Loaded
from .environment import client_command
from .loading import run_loader


class QdrantEngine:
    name = "Qdrant engine"
    efforts: ClassVar[Sequence[int]] = (16, 24, 40, 64, 96, 128, 192, 256, 400, 600, 1000)
    in_process: ClassVar[bool] = True

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-qdrant-")

    def __enter__(self) -> "QdrantEngine":
        return self

    def __exit__(self, *reason: object) -> None:
        self._folder.cleanup()

    def load(self, data: Dataset) -> Loaded:
        said = run_loader(data, self.target(None), lambda job: client_command("qdrant_client", job, "load"))
        return Loaded(**json.loads(said))

    def command(self, job: Path) -> list[str]:
        return client_command("qdrant_client", str(job))

    def target(self, effort: int | None) -> dict[str, Any]:
        return {"directory": str(Path(self._folder.name) / "shard"), "effort": effort or self.efforts[0]}

    def server_pids(self) -> Sequence[int]:
        return []

    def complaints(self) -> str:
        return ""
