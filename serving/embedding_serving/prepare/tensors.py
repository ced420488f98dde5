"""Weights as they lie on disk: safetensors files, mapped and never loaded whole."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .errors import UnsupportedModelError

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_CHUNK_VALUES = 1 << 22


class Tensors:
    """The tensors of some safetensors files by name, as read-only views of the mapped files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises UnsupportedModelError where a file is truncated or malformed, or a name occurs twice."""
        self._views: dict[str, NDArray[Any]] = {}
        self._kinds: dict[str, str] = {}
        self.bytes_ = 0
        for file in files:
            self._map(file)

    def _map(self, file: Path) -> None:
        try:
            with safe_open(file, framework="np"):  # validates header, offsets and length
                pass
        except (SafetensorError, OSError) as error:
            raise UnsupportedModelError(
                f"{file.name} is truncated or no safetensors file ({error}): "
                "publish it again, or pin a revision where it is whole"
            ) from None
        mapped = np.memmap(file, dtype=np.uint8, mode="r")
        start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
        header = orjson.loads(mapped[8:start].tobytes())
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if name in self._views:
                raise UnsupportedModelError(f"tensor {name} is in two weight files: publish each tensor once")
            if entry["dtype"] not in _DTYPES:
                raise UnsupportedModelError(
                    f"tensor {name} has dtype {entry['dtype']}: supported are {', '.join(sorted(_FLOATS))}. "
                    "Publish weights that are not quantised"
                )
            begin, end = entry["data_offsets"]
            raw = mapped[start + begin : start + end]
            self._views[name] = raw.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
            self._kinds[name] = entry["dtype"]
            self.bytes_ += end - begin

    def __contains__(self, name: str) -> bool:
        return name in self._views

    def names(self) -> list[str]:
        return sorted(self._views)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._found(name).shape

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises UnsupportedModelError unless `name` is a float tensor of `shape`."""
        view = self._found(name)
        if view.shape != shape:
            raise UnsupportedModelError(
                f"tensor {name} has shape {list(view.shape)}, but config.json asks for {list(shape)}: "
                "weights and config.json are not of one model"
            )
        if self._kinds[name] not in _FLOATS:
            raise UnsupportedModelError(
                f"tensor {name} has dtype {self._kinds[name]}: supported are {', '.join(sorted(_FLOATS))}"
            )

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32, upcast from what is stored; a view of the file where it is float32 already."""
        view = self._found(name)
        return np.asarray(view, dtype=np.float32)

    def rows(self, name: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows `indices` of a table as float32 [len(indices), width], without loading the table."""
        return np.asarray(self._found(name)[indices], dtype=np.float32)

    def digests(self) -> list[tuple[str, str, list[int], str]]:
        """(name, dtype, shape, SHA-256 of the bytes) of every tensor, by name.

        One pass over the weights, which also looks for values that are no numbers. Raises UnsupportedModelError there.
        """
        return [self._digest(name) for name in self.names()]

    def _digest(self, name: str) -> tuple[str, str, list[int], str]:
        view, kind = self._views[name], self._kinds[name]
        digest = hashlib.sha256()
        for chunk in _chunks(view):
            digest.update(chunk.view(np.uint8).data)
            if kind in _FLOATS and not np.isfinite(chunk).all():
                raise UnsupportedModelError(
                    f"tensor {name} holds values that are not finite (NaN or infinity): the weights are damaged. "
                    "Publish them again, or pin an earlier revision"
                )
        return name, kind, list(view.shape), digest.hexdigest()

    def _found(self, name: str) -> NDArray[Any]:
        try:
            return self._views[name]
        except KeyError:
            raise UnsupportedModelError(
                f"the weights lack tensor {name}, which the architecture in config.json needs: "
                "weights and config.json are not of one model, or a shard is missing"
            ) from None


def _chunks(view: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = view.reshape(-1)
    for begin in range(0, flat.size, _CHUNK_VALUES):
        yield flat[begin : begin + _CHUNK_VALUES]
