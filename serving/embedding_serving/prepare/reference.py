"""The fp32 truth of the probes: the same families computed once more, by plain numpy, straight from the weights.

Nothing is shared with the graph but the weights' names, so a mistake in the graph can't hide. It computes in float64, one text
at a time and without padding, so that neither rounding nor masks can blur it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedding_serving.contract.model import Normalize, Pooling, Task

from .encoder import EncoderConfig, EncoderWeights
from .resolve import Recipe

Matrix = NDArray[np.float64]
TokenIds = tuple[Sequence[int], Sequence[int]]
"""(input_ids, token_type_ids) of one text or pair, special tokens included."""


def reference(recipe: Recipe, weights: EncoderWeights, texts: Sequence[TokenIds]) -> NDArray[np.float32]:
    """float32 [len(texts), dimensions], or [len(texts)] for a re-ranker."""
    states = [_embeddings(weights, np.array(ids), np.array(types)) for ids, types in texts]
    for layer in range(weights.config.layers):
        states = _layer(weights, layer, states)
    if recipe.task is Task.RERANK:
        return np.array([_score(weights, s) for s in states], dtype=np.float32)
    return np.stack([_vector(recipe, s) for s in states]).astype(np.float32)


def _embeddings(weights: EncoderWeights, ids: NDArray[np.int64], types: NDArray[np.int64]) -> Matrix:
    config = weights.config
    total = weights.word_rows(ids).astype(np.float64) + weights.positions()[_positions(config, ids)]
    if config.token_types:
        total += weights.token_types()[types if config.token_types > 1 else np.zeros_like(types)]
    total = _normalise(total, weights.embedding_norm(), config.epsilon)
    if config.embedding != config.hidden:
        total = _linear(total, weights.embedding_projection())
    return total


def _positions(config: EncoderConfig, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    if not config.family.positions_skip_padding:
        return np.arange(len(ids))
    positions = np.full(len(ids), config.padding_id)
    is_token = ids != config.padding_id
    positions[is_token] += np.arange(1, is_token.sum() + 1)
    return positions


def _layer(weights: EncoderWeights, number: int, states: list[Matrix]) -> list[Matrix]:
    """All texts go through one layer before the next is read, so that each layer's weights are held once."""
    config = weights.config
    query, key, value, output, up, down = (
        weights.linear(number, role) for role in ("query", "key", "value", "attention_output", "up", "down")
    )
    attention_norm, norm = weights.norm(number, "attention_norm"), weights.norm(number, "norm")
    relative = weights.relative_bias() if config.relative_buckets else None
    result = []
    for text in states:
        attended = _attention(config, _linear(text, query), _linear(text, key), _linear(text, value), relative)
        middle = _normalise(text + _linear(attended, output), attention_norm, config.epsilon)
        wide = _ACTIVATIONS[config.activation](_linear(middle, up))
        result.append(_normalise(middle + _linear(wide, down), norm, config.epsilon))
    return result


def _attention(
    config: EncoderConfig, query: Matrix, key: Matrix, value: Matrix, relative: NDArray[np.float32] | None
) -> Matrix:
    mixed = np.empty_like(query)
    length = len(query)
    for head in range(config.heads):
        part = slice(head * config.head_size, (head + 1) * config.head_size)
        scores = query[:, part] @ key[:, part].T / np.sqrt(config.head_size)
        if relative is not None:
            centre = config.position_limit - 1
            for i in range(length):
                scores[i] += relative[head, centre - i : centre - i + length]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, part] = (scores / scores.sum(axis=1, keepdims=True)) @ value[:, part]
    return mixed


def _vector(recipe: Recipe, states: Matrix) -> Matrix:
    if recipe.pooling is Pooling.MEAN:
        vector = states.mean(axis=0)
    else:
        vector = states[0] if recipe.pooling is Pooling.CLS else states[-1]
    for projection in recipe.projections:
        weight, bias = projection.linear()
        vector = weight.astype(np.float64) @ vector
        vector = _ACTIVATIONS[projection.activation](vector if bias is None else vector + bias)
    vector = vector[: recipe.dimensions]
    length = float(np.linalg.norm(vector)) if recipe.normalize is Normalize.ALWAYS else 1.0
    return np.asarray(vector / max(length, 1e-12))


def _score(weights: EncoderWeights, states: Matrix) -> float:
    dense = _ACTIVATIONS[weights.config.family.head.activation](_linear(states[0], weights.head_dense()))
    return float(_linear(dense, weights.head_output())[0])


def _linear(states: Matrix, linear: tuple[NDArray[np.float32], NDArray[np.float32]]) -> Matrix:
    weight, bias = linear
    return states @ weight.T.astype(np.float64) + bias


def _normalise(states: Matrix, norm: tuple[NDArray[np.float32], NDArray[np.float32]], epsilon: float) -> Matrix:
    scale, shift = norm
    centred = states - states.mean(axis=-1, keepdims=True)
    result: Matrix = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) * scale + shift
    return result


def _gelu(x: Matrix) -> Matrix:
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _erf(x: Matrix) -> Matrix:
    """The standard library's error function, over an array: numpy has none, and a few hundred tokens bear the loop."""
    return np.fromiter(map(math.erf, x.ravel()), dtype=np.float64, count=x.size).reshape(x.shape)


def _gelu_tanh(x: Matrix) -> Matrix:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


_ACTIVATIONS: dict[str, Callable[[Matrix], Matrix]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "identity": lambda x: x,
}
