"""Writes an ONNX graph node by node, its weights streamed beside it: no weight is held in memory longer than its write."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""First with Gelu; every engine of the last years runs it."""
IR_VERSION = 9
_ALIGNMENT = 4096
"""Offsets on page borders, so that engines can map the file instead of reading it."""
_INLINE_BYTES = 1024


class GraphWriter:
    """Collects nodes; `op` and `constant` return the name of their output, so that a graph reads like the formula."""

    def __init__(self, data: BinaryIO, data_name: str) -> None:
        self._data = data
        self._data_name = data_name
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._used: set[str] = set()

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = self._unique(name or kind.lower())
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A tensor; beyond 1 KiB its bytes go to the data file."""
        name = self._unique(name)
        if value.nbytes <= _INLINE_BYTES:
            self._initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
            return name
        offset = -self._data.tell() % _ALIGNMENT + self._data.tell()
        self._data.seek(offset)
        self._data.write(np.asarray(value, order="C").data)
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", self._data_name), ("offset", str(offset)), ("length", str(value.nbytes))):
            tensor.external_data.add(key=key, value=text)
        self._initializers.append(tensor)
        return name

    def ints(self, *values: int) -> str:
        """int64 [len(values)]."""
        return self.constant("ints", np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """float32 scalar."""
        return self.constant("number", np.array(value, dtype=np.float32))

    def save(self, path: Path, inputs: list[Any], outputs: list[Any]) -> None:
        """Writes the model file. Raises onnx.checker.ValidationError where the graph is malformed."""
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "embedding-operator"
        self._data.flush()
        path.write_bytes(model.SerializeToString())
        onnx.checker.check_model(path)

    def _unique(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self._used:
            number += 1
            candidate = f"{name}_{number}"
        self._used.add(candidate)
        return candidate
