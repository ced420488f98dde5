"""An engine without a model, behind the Engine seam: what a text becomes is simple arithmetic, and a test can hold it up."""

import threading
from typing import Any

import numpy as np

from embedding_serving.contract.model import EngineName
from embedding_serving.embed.engines.engine import Ids, Vectors
from embedding_serving.embed.scheduler import BatchLimits

DIMENSIONS = 4
POISON = 666


class FakeEngine:
    """A vector is the sum of the ids, four times. A batch with the id POISON fails. `gate` holds batches back."""

    name = EngineName.ONNX_RUNTIME
    arithmetic = "fp32"
    limits = BatchLimits(max_tokens=64, max_texts=8, padding_tokens=16)
    length_multiple = 1
    gpu: Any | None = None

    def __init__(self, concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[list[int]]] = []

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        self.batches.append([row[mask == 1].tolist() for row, mask in zip(input_ids, attention_mask, strict=True)])
        self.entered.set()
        assert self.gate.wait(30)
        if (input_ids == POISON).any():
            raise RuntimeError("poison")
        sums = (input_ids * attention_mask).sum(axis=1, dtype=np.float32)
        return np.repeat(sums[:, None], DIMENSIONS, axis=1)

    def texts_run(self) -> list[list[int]]:
        return [text for batch in self.batches for text in batch]
