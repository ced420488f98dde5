"""ONNX Runtime on the CPU: exact fp32, no torch in the image. Int8 is in the graph: weights alone, activations stay fp32."""

import onnxruntime as ort

from ...contract.model import EngineName, Precision
from ...prepared import ONNX_MODEL
from ..scheduler import BatchLimits
from .engine import Ids, LoadRequest, Vectors

# Larger batches leave the cache of one core, smaller ones leave its vector units idle.
LIMITS = BatchLimits(max_tokens=512, max_texts=128, padding_tokens=16)


class OnnxRuntimeEngine:
    """One session, shared by the workers: a thread that calls `encode` is the thread that computes.

    More than one intra-op thread costs more in barriers than it gains on short texts, and a thread that spins takes
    the CPU from the other workers (under a quota it gets the whole pod throttled).
    """

    name = EngineName.ONNX_RUNTIME
    limits = LIMITS
    length_multiple = 1
    gpu = None

    def __init__(self, request: LoadRequest) -> None:
        self.arithmetic = "int8 weights" if request.model.precision is Precision.INT8 else "fp32"
        self.concurrency = request.workers
        self._session = ort.InferenceSession(
            str(request.directory / ONNX_MODEL), sess_options=_options(), providers=["CPUExecutionProvider"]
        )
        self._inputs = [node.name for node in self._session.get_inputs()]

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        vectors: Vectors = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        return vectors


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
