"""The reference of families that only torch knows: transformers' own forward, in float32, one text at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding_serving.contract.model import Normalize, Pooling, Task

from .errors import UnsupportedModelError
from .reference import TokenIds
from .resolve import Recipe


def torch_reference(directory: Path, recipe: Recipe, texts: Sequence[TokenIds]) -> NDArray[np.float32]:
    """float32 [len(texts), dimensions], or [len(texts)] for a re-ranker.

    Raises UnsupportedModelError where torch is not installed or transformers can't load the files.
    """
    try:
        import torch
        from transformers import AutoModel, AutoModelForSequenceClassification
    except ImportError:
        raise UnsupportedModelError(
            f"architecture {recipe.architecture} needs torch, which this image has not: set runtime.engine Torch and a GPU, "
            "so that the pods run the torch image"
        ) from None
    loader = AutoModelForSequenceClassification if recipe.task is Task.RERANK else AutoModel
    try:
        model = loader.from_pretrained(
            directory, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        ).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise UnsupportedModelError(
            f"transformers can't load {recipe.architecture} ({type(error).__name__}: {str(error)[:200]})"
        ) from None
    with torch.inference_mode():
        rows = [_row(model(input_ids=torch.tensor([list(ids)])), recipe) for ids, _ in texts]
    return np.stack(rows).astype(np.float32)


def _row(output: object, recipe: Recipe) -> NDArray[np.float64]:
    if recipe.task is Task.RERANK:
        logits = output.logits[0].double().numpy()  # type: ignore[attr-defined]
        if logits.shape != (1,):
            raise UnsupportedModelError(f"the classification head has {logits.size} outputs; a re-ranker has exactly one score")
        return np.asarray(logits[0])
    states = output.last_hidden_state[0].double().numpy()  # type: ignore[attr-defined]
    match recipe.pooling:
        case Pooling.CLS:
            vector = states[0]
        case Pooling.LAST_TOKEN:
            vector = states[-1]
        case _:
            vector = states.mean(axis=0)
    vector = vector[: recipe.dimensions]
    length = np.linalg.norm(vector) if recipe.normalize is Normalize.ALWAYS else 1.0
    return np.asarray(vector / max(length, 1e-12))
