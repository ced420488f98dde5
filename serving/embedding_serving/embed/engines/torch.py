"""torch: the GPU's engine, and on the CPU the reference that the others are measured against.

Batches are padded and run through scaled-dot-product attention. The scheduler puts texts of like length together, so
padding is a few percent; unpadded attention needs a package that transformers does not bring.
"""

import numpy as np
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from ...contract.model import EngineName, Normalize, Pooling, Precision, Task
from ...prepared import TORCH_DIR
from ..scheduler import BatchLimits
from .engine import EngineUnavailable, Ids, LoadRequest, Vectors

GPU_LIMITS = BatchLimits(max_tokens=16_384, max_texts=512, padding_tokens=512)
CPU_LIMITS = BatchLimits(max_tokens=512, max_texts=128, padding_tokens=16)
GPU_CONCURRENCY = 2
"""One batch computes while the next is put together and copied."""

_DTYPES = {
    Precision.FLOAT32: (torch.float32, "fp32"),
    Precision.BFLOAT16: (torch.bfloat16, "bf16"),
    Precision.FLOAT16: (torch.float16, "fp16"),
}


class TorchEngine:
    name = EngineName.TORCH
    length_multiple = 8

    def __init__(self, request: LoadRequest) -> None:
        model = request.model
        if model.precision not in _DTYPES:
            raise EngineUnavailable(f"torch runs Float32, BFloat16 and Float16, not {model.precision}")
        gpu = torch.cuda.is_available()
        # Half precision is a GPU's: a CPU without the instructions runs it many times slower than fp32.
        dtype, self.arithmetic = _DTYPES[model.precision] if gpu else _DTYPES[Precision.FLOAT32]
        self.limits = GPU_LIMITS if gpu else CPU_LIMITS
        self.concurrency = GPU_CONCURRENCY if gpu else request.workers
        if not gpu:
            torch.set_num_threads(1)
        self.gpu = torch if gpu else None
        self._device = torch.device("cuda" if gpu else "cpu")
        self._spec = model
        kind = AutoModelForSequenceClassification if model.task is Task.RERANK else AutoModel
        self._model = kind.from_pretrained(
            request.directory / TORCH_DIR,
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        self._model.to(self._device).eval()
        self._has_token_types = getattr(self._model.config, "type_vocab_size", 0) > 1

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        with torch.inference_mode():
            return self._encode(input_ids, attention_mask, token_type_ids)

    def _encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        mask = self._to_device(attention_mask)
        inputs = {"input_ids": self._to_device(input_ids), "attention_mask": mask}
        if self._has_token_types:
            inputs["token_type_ids"] = self._to_device(token_type_ids)
        output = self._model(**inputs)
        if self._spec.task is Task.RERANK:
            answer = output.logits[:, 0].float()
        else:
            answer = self._pooled(output.last_hidden_state.float(), mask)
        return np.ascontiguousarray(answer.cpu().numpy(), dtype=np.float32)

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """float32 [n, dim] of the hidden states [n, L, width]; inputs are padded on the right."""
        if self._spec.pooling is Pooling.CLS:
            vectors = states[:, 0]
        elif self._spec.pooling is Pooling.LAST_TOKEN:
            vectors = states[torch.arange(len(states), device=self._device), mask.sum(1) - 1]
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)
            vectors = (states * weights).sum(1) / weights.sum(1)
        vectors = vectors[:, : self._spec.dimensions]
        if self._spec.normalize is Normalize.ALWAYS:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors

    def _to_device(self, ids: Ids) -> torch.Tensor:
        tensor = torch.from_numpy(ids)
        return tensor if self._device.type == "cpu" else tensor.pin_memory().to(self._device, non_blocking=True)
