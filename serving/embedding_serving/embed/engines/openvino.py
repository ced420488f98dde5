"""OpenVINO on the CPU: fp32, and bf16 where the model asks for it and the processor has it."""

import threading

import numpy as np
import openvino as ov

from ...contract.model import EngineName, Precision
from ...cpu import has_bfloat16
from ...prepared import ONNX_MODEL
from ..scheduler import BatchLimits
from .engine import Ids, LoadRequest, Vectors

LIMITS = BatchLimits(max_tokens=512, max_texts=128, padding_tokens=16)


class OpenVinoEngine:
    """One compiled model with a stream a worker; a thread keeps the request object that it computes with."""

    name = EngineName.OPENVINO
    limits = LIMITS
    # A shape that was not seen before costs a reshape of the graph: rounded lengths are met again soon.
    length_multiple = 8
    gpu = None

    def __init__(self, request: LoadRequest) -> None:
        precision = request.model.precision
        lowered = precision is Precision.BFLOAT16 and has_bfloat16()
        self.arithmetic = "bf16" if lowered else "int8 weights" if precision is Precision.INT8 else "fp32"
        self.concurrency = request.workers
        self._compiled = ov.Core().compile_model(
            str(request.directory / ONNX_MODEL),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": request.workers,
                "NUM_STREAMS": request.workers,
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": ov.Type.bf16 if lowered else ov.Type.f32,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._inputs = [port.any_name for port in self._compiled.inputs]
        self._local = threading.local()

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        infer = self._request()
        infer.infer({name: feeds[name] for name in self._inputs}, share_inputs=True)
        return np.array(infer.get_output_tensor(0).data, dtype=np.float32)

    def _request(self) -> ov.InferRequest:
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return self._local.request
