"""Reads the JSON files of a model, written by strangers."""

from pathlib import Path
from typing import Any

import orjson

from .errors import UnsupportedModelError

MAX_BYTES = 64 * 1024 * 1024


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises UnsupportedModelError for anything else; the file's text is never quoted."""
    value = _read(path)
    if not isinstance(value, dict):
        raise UnsupportedModelError(
            f"{path.name} must hold a JSON object, not a {type(value).__name__}: repair the file at its source"
        )
    return value


def read_list(path: Path) -> list[Any]:
    """The JSON array in `path`. Raises UnsupportedModelError for anything else."""
    value = _read(path)
    if not isinstance(value, list):
        raise UnsupportedModelError(
            f"{path.name} must hold a JSON array, not a {type(value).__name__}: repair the file at its source"
        )
    return value


def _read(path: Path) -> Any:
    if path.stat().st_size > MAX_BYTES:
        raise UnsupportedModelError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB, which no model's {path.name} is")
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UnsupportedModelError(
            f"{path.name} is not valid JSON (line {error.lineno}, column {error.colno}): repair the file at its source"
        ) from None
