"""One BERT-like encoder: its configuration read from config.json, its weights found and checked in the safetensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedModelError
from .families import Family
from .tensors import Tensors

Array = NDArray[np.float32]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Names in config.json -> the functions that graph and reference know."""

_RELATIVE_MAX_DISTANCE = 128
"""Fixed in MPNet's code, not in its configuration."""
_LARGEST = 1 << 20
"""No size in a configuration is larger: hidden sizes and layers lie far below, vocabularies are at most about 2^20."""


@dataclass(frozen=True)
class EncoderConfig:
    """What config.json says of the computation."""

    family: Family
    layers: int
    heads: int
    hidden: int
    intermediate: int
    embedding: int
    """Width of the embedding tables; differs from `hidden` where a projection follows."""
    epsilon: float
    activation: str
    vocabulary: int
    position_rows: int
    token_types: int
    padding_id: int
    relative_buckets: int

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def position_limit(self) -> int:
        """Most tokens that the position table can tell apart."""
        return self.position_rows - (self.padding_id + 1 if self.family.positions_skip_padding else 0)

    @classmethod
    def read(cls, config: Mapping[str, Any], family: Family) -> "EncoderConfig":
        """Raises UnsupportedModelError where a key is missing, out of range, or asks for an unknown computation."""
        _refuse_variants(config)
        keys = _Keys(config, family)
        hidden = keys.size("hidden_size")
        heads = keys.size("num_attention_heads")
        if hidden % heads:
            raise UnsupportedModelError(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        activation = str(config.get(keys.name("hidden_act"), "gelu"))
        if activation not in ACTIVATIONS:
            raise UnsupportedModelError(
                f"config.json: activation {activation!r} is not supported; supported are {', '.join(ACTIVATIONS)}"
            )
        return cls(
            family=family,
            layers=keys.size("num_hidden_layers"),
            heads=heads,
            hidden=hidden,
            intermediate=keys.size("intermediate_size"),
            embedding=keys.size("embedding_size") if family.may_project_embeddings and "embedding_size" in config else hidden,
            epsilon=keys.epsilon(),
            activation=ACTIVATIONS[activation],
            vocabulary=keys.size("vocab_size"),
            position_rows=keys.size("max_position_embeddings"),
            token_types=keys.size("type_vocab_size", default=2) if family.has_token_types else 0,
            padding_id=keys.padding_id(),
            relative_buckets=keys.size("relative_attention_num_buckets", default=32) if family.has_relative_positions else 0,
        )


class _Keys:
    """Values of config.json under the family's own names."""

    def __init__(self, config: Mapping[str, Any], family: Family) -> None:
        self._config = config
        self._family = family

    def name(self, key: str) -> str:
        return self._family.config_names.get(key, key)

    def size(self, key: str, default: int | None = None) -> int:
        value = self._config.get(self.name(key), default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
            raise UnsupportedModelError(
                f"config.json: {self.name(key)} must be a whole number from 1 to {_LARGEST}, not {value!r:.40}"
            )
        return value

    def epsilon(self) -> float:
        value = self._config.get("layer_norm_eps", 1e-12)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise UnsupportedModelError(f"config.json: layer_norm_eps must lie between 0 and 1, not {value!r:.40}")
        return float(value)

    def padding_id(self) -> int:
        default = 1 if self._family.positions_skip_padding else 0
        value = self._config.get("pad_token_id", default)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise UnsupportedModelError(f"config.json: pad_token_id must be a token id, not {value!r:.40}")
        return value


def _refuse_variants(config: Mapping[str, Any]) -> None:
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise UnsupportedModelError(f"config.json: position_embedding_type {kind!r:.40} is not supported, only 'absolute'")
    for flag in ("is_decoder", "add_cross_attention"):
        if config.get(flag):
            raise UnsupportedModelError(f"config.json: {flag} is set, but an encoder is needed")


class EncoderWeights:
    """The encoder's weights by role, in the family's naming, with the base model's prefix found."""

    def __init__(self, config: EncoderConfig, tensors: Tensors, reranker: bool) -> None:
        """Raises UnsupportedModelError where a tensor is missing or of the wrong shape."""
        self.config = config
        self._tensors = tensors
        prefixes = (f"{config.family.base}.", "", "model.")
        self._prefix = next((p for p in prefixes if f"{p}embeddings.word_embeddings.weight" in tensors), "")
        self._check_all()
        if reranker:
            self._check_head()

    def words(self) -> Array:
        """float32 [vocabulary, embedding]."""
        return self._tensors.read(self._base("embeddings.word_embeddings.weight"))

    def word_rows(self, ids: NDArray[np.int64]) -> Array:
        """float32 [len(ids), embedding]."""
        return self._tensors.rows(self._base("embeddings.word_embeddings.weight"), ids)

    def positions(self) -> Array:
        """float32 [position_rows, embedding]."""
        return self._tensors.read(self._base("embeddings.position_embeddings.weight"))

    def token_types(self) -> Array:
        """float32 [token_types, embedding]."""
        return self._tensors.read(self._base("embeddings.token_type_embeddings.weight"))

    def embedding_norm(self) -> tuple[Array, Array]:
        return self._norm("embeddings.LayerNorm")

    def embedding_projection(self) -> tuple[Array, Array]:
        return self._linear(self._base("embeddings_project"))

    def linear(self, layer: int, role: str) -> tuple[Array, Array]:
        """(weight float32 [out, in], bias float32 [out]) of `role`, one of LayerNames' fields."""
        return self._linear(self._base(getattr(self.config.family.layer, role).format(layer)))

    def norm(self, layer: int, role: str) -> tuple[Array, Array]:
        """(scale, shift), float32 [hidden] each."""
        return self._norm(getattr(self.config.family.layer, role).format(layer))

    def relative_bias(self) -> Array:
        """float32 [heads, 2 * limit - 1]: added to the score of key j for query i, in column j - i + limit - 1."""
        table = self._tensors.read(self._base("encoder.relative_attention_bias.weight"))
        limit = self.config.position_limit
        return np.ascontiguousarray(table[_relative_buckets(limit, self.config.relative_buckets)].T)

    def head_dense(self) -> tuple[Array, Array]:
        return self._linear(self._head_dense_name())

    def head_output(self) -> tuple[Array, Array]:
        return self._linear(self.config.family.head.output)

    def _base(self, name: str) -> str:
        return self._prefix + name

    def _linear(self, name: str) -> tuple[Array, Array]:
        return self._tensors.read(f"{name}.weight"), self._tensors.read(f"{name}.bias")

    def _norm(self, name: str) -> tuple[Array, Array]:
        scale, shift = self._norm_names(self._base(name))
        return self._tensors.read(scale), self._tensors.read(shift)

    def _norm_names(self, name: str) -> tuple[str, str]:
        if f"{name}.gamma" in self._tensors:  # checkpoints converted from TensorFlow
            return f"{name}.gamma", f"{name}.beta"
        return f"{name}.weight", f"{name}.bias"

    def _head_dense_name(self) -> str:
        head = self.config.family.head
        return self._base(head.dense) if head.dense_in_base else head.dense

    def _check_all(self) -> None:
        config, check = self.config, self._tensors.check
        width = config.embedding
        check(self._base("embeddings.word_embeddings.weight"), (config.vocabulary, width))
        check(self._base("embeddings.position_embeddings.weight"), (config.position_rows, width))
        if config.token_types:
            check(self._base("embeddings.token_type_embeddings.weight"), (config.token_types, width))
        self._check_norm("embeddings.LayerNorm", width)
        if width != config.hidden:
            self._check_linear(self._base("embeddings_project"), config.hidden, width)
        if config.relative_buckets:
            check(self._base("encoder.relative_attention_bias.weight"), (config.relative_buckets, config.heads))
        for layer in range(config.layers):
            self._check_layer(layer)

    def _check_layer(self, layer: int) -> None:
        hidden, names = self.config.hidden, self.config.family.layer
        for role in (names.query, names.key, names.value, names.attention_output):
            self._check_linear(self._base(role.format(layer)), hidden, hidden)
        self._check_linear(self._base(names.up.format(layer)), self.config.intermediate, hidden)
        self._check_linear(self._base(names.down.format(layer)), hidden, self.config.intermediate)
        self._check_norm(names.attention_norm.format(layer), hidden)
        self._check_norm(names.norm.format(layer), hidden)

    def _check_head(self) -> None:
        self._check_linear(self._head_dense_name(), self.config.hidden, self.config.hidden)
        outputs = self._tensors.shape(f"{self.config.family.head.output}.weight")[0]
        if outputs != 1:
            raise UnsupportedModelError(
                f"the classification head has {outputs} outputs; a re-ranker has exactly one score. "
                "Choose a cross-encoder trained to rank, or task Embed"
            )
        self._check_linear(self.config.family.head.output, 1, self.config.hidden)

    def _check_linear(self, name: str, out: int, into: int) -> None:
        self._tensors.check(f"{name}.weight", (out, into))
        self._tensors.check(f"{name}.bias", (out,))

    def _check_norm(self, name: str, width: int) -> None:
        for tensor in self._norm_names(self._base(name)):
            self._tensors.check(tensor, (width,))


def _relative_buckets(limit: int, buckets: int) -> NDArray[np.int64]:
    """Bucket of every distance key - query from 1 - limit to limit - 1 (T5's bidirectional scheme, as MPNet uses it)."""
    distance = np.arange(-(limit - 1), limit)
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    with np.errstate(divide="ignore"):
        ratio = np.log(size.astype(np.float32) / exact) / math.log(_RELATIVE_MAX_DISTANCE / exact) * (half - exact)
    far = np.minimum(exact + np.maximum(ratio, 0).astype(np.int64), half - 1)
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, far)
