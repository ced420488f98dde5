"""Where the benchmark keeps what is slow to make: texts, vectors, peers. All of it can be deleted."""

import os
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """A folder of the benchmark's cache, made where it is missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base.joinpath("embedding-operator", "bench", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process is killed."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
