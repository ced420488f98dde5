"""PostgreSQL 17 with pgvector's HNSW, over PostgreSQL's own protocol on a Unix socket."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..dataset import Dataset
from ..system import Loaded
from .environment import client_command
from .loading import run_loader
from .postgres_server import PostgresServer, postgres_server


class Pgvector:
    name = "pgvector"
    efforts: ClassVar[Sequence[int]] = (24, 40, 64, 96, 128, 192, 256, 400, 600, 1000)
    in_process: ClassVar[bool] = False

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._server: PostgresServer | None = None

    def __enter__(self) -> "Pgvector":
        self._server = self._stack.enter_context(postgres_server())
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def load(self, data: Dataset) -> Loaded:
        return Loaded(**json.loads(run_loader(data, self.target(None), lambda job: client_command("pgvector_load", job))))

    def command(self, job: Path) -> list[str]:
        return client_command("pgvector_client", str(job))

    def target(self, effort: int | None) -> dict[str, Any]:
        assert self._server
        return {"socket_dir": self._server.socket_dir, "effort": effort or self.efforts[0]}

    def server_pids(self) -> Sequence[int]:
        assert self._server
        return [self._server.pid]

    def complaints(self) -> str:
        assert self._server
        return (Path(self._server.socket_dir).parent / "log").read_text()[-1000:]
