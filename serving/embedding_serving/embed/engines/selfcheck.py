"""Is an engine right? Its vectors of fixed texts against the fp32 reference that was made when the model was prepared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...contract.model import Precision
from ..encoder_input import padded
from ..tokens import Tokens
from .engine import Engine, Vectors

MIN_COSINE_FLOAT32 = 0.99999
MIN_COSINE_LOWERED = 0.999
MIN_COSINE_AMONG_BATCH_MATES = 0.9999


@dataclass(frozen=True, slots=True)
class SelfCheckResult:
    """cosine: mean over the texts against the reference, the worse of alone and batched.
    batch_cosine: least over the texts, alone against batched."""

    cosine: float
    batch_cosine: float
    required_cosine: float

    @property
    def complaint(self) -> str | None:
        """Why the engine should not serve, or None."""
        if not self.cosine >= self.required_cosine:
            return f"mean cosine to the fp32 reference is {self.cosine:.6f}, at least {self.required_cosine} is required"
        return None

    @property
    def depends_on_batch(self) -> bool:
        """Whether a text's vector changes with its batch mates: then no two answers agree and no cache is right."""
        return not self.batch_cosine >= MIN_COSINE_AMONG_BATCH_MATES


def self_check(engine: Engine, probes: Sequence[Tokens], reference: Vectors, precision: Precision) -> SelfCheckResult:
    """Runs the probes one by one and as one batch. reference: float32 [n, dim], of a re-ranker [n]."""
    alone = np.concatenate([engine.encode(*padded([probe], engine.length_multiple)) for probe in probes])
    batched = engine.encode(*padded(probes, engine.length_multiple))
    required = MIN_COSINE_FLOAT32 if precision is Precision.FLOAT32 else MIN_COSINE_LOWERED
    return SelfCheckResult(
        cosine=float(min(_cosines(alone, reference).mean(), _cosines(batched, reference).mean())),
        batch_cosine=float(_cosines(alone, batched).min()),
        required_cosine=required,
    )


def _cosines(left: Vectors, right: Vectors) -> np.ndarray:
    """float64 [n]. The scores of a re-ranker are compared as one vector. A shape that differs agrees with nothing."""
    if left.shape != right.shape:
        return np.zeros(1)
    a, b = (np.atleast_2d(vectors).astype(np.float64) for vectors in (left, right))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: np.ndarray = np.einsum("nd,nd->n", a, b) / np.where(norms, norms, 1.0)
    return cosines
