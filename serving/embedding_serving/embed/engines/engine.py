"""What an engine is: a batch of token ids in, float32 vectors out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...contract.model import EngineName
from ...prepared import PreparedModel
from ..scheduler import BatchLimits

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


class EngineUnavailable(Exception):
    """This engine cannot run this model here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What an engine is loaded from: the prepared model, where it lies, and how many batches run at once."""

    model: PreparedModel
    directory: Path
    workers: int


class Engine(Protocol):
    """`encode` is called from several threads at once, `concurrency` at most."""

    @property
    def name(self) -> EngineName: ...

    @property
    def arithmetic(self) -> str:
        """Number format of the computation (`fp32`, `bf16`, …); vectors of two are not cached under one key."""

    @property
    def concurrency(self) -> int: ...

    @property
    def limits(self) -> BatchLimits:
        """The batches that this engine runs best."""

    @property
    def length_multiple(self) -> int:
        """Batches are padded to a multiple of this length, so that fewer shapes are met."""

    @property
    def gpu(self) -> Any | None:
        """The torch module, where the engine runs on a GPU that can be watched through it."""

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        """Inputs int64 [n, L]; answer float32 [n, dim], of a re-ranker [n]."""
