"""Runs a peer's loader and gives back the line that it prints."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..dataset import Dataset
from ..job import Job
from ..system import REPOSITORY


def run_loader(data: Dataset, target: dict[str, Any], command: Callable[[str], list[str]]) -> str:
    """Raises RuntimeError with the loader's last words."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        path = Path(folder) / "job.json"
        Job(str(data.folder), "", target).write(path)
        done = subprocess.run(command(str(path)), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading failed: {done.stderr[-1500:]}")
    return done.stdout
