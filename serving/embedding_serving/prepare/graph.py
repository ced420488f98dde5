"""The encoder as an ONNX graph, written straight from the weights, with pooling, projection, truncation and norm.

Plain operators alone: the CPU engines' own passes make more of them than of pre-fused ones, and every engine has them.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from embedding_serving.contract.model import Normalize, Pooling, Task

from .encoder import Array, EncoderConfig, EncoderWeights
from .graph_writer import GraphWriter
from .resolve import Recipe

_MASKED = -30_000.0
"""Added to the score of a masked key: exp of it is exactly 0, yet it is finite in float16 and bfloat16 too, where the
smallest float32 would round to -infinity and turn a row without any token into NaN."""
_EPSILON_NORM = 1e-12


def write_onnx(path: Path, recipe: Recipe, weights: EncoderWeights, int8: bool) -> None:
    """Writes `path` and `path`.data. With `int8` the layers' matrices are stored as 8-bit numbers, one scale per output;
    activations are the engine's business (OpenVINO quantises them per token, so batch mates have no influence).

    Inputs input_ids, attention_mask, token_type_ids: int64 [n, L], padded on the right. Output `embeddings` float32
    [n, dimensions], or `scores` float32 [n] (the raw logit) of a re-ranker.
    """
    data = path.with_name(path.name + ".data")
    with data.open("wb") as stream:
        writer = GraphWriter(stream, data.name)
        graph = _EncoderGraph(writer, weights, int8)
        states = graph.states()
        if recipe.task is Task.RERANK:
            output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])
            _score(writer, weights, states)
        else:
            output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", recipe.dimensions])
            _embed(writer, recipe, states)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        writer.save(path, inputs, [output])


class _EncoderGraph:
    def __init__(self, writer: GraphWriter, weights: EncoderWeights, int8: bool) -> None:
        self._w = writer
        self._int8 = int8
        self._weights = weights
        self._config: EncoderConfig = weights.config
        self._split = writer.ints(0, 0, self._config.heads, self._config.head_size)
        self._merge = writer.ints(0, 0, self._config.hidden)
        self._length = writer.op("Gather", writer.op("Shape", "input_ids"), writer.ints(1), axis=0, name="length")

    def states(self) -> str:
        """Last hidden states, float32 [n, L, hidden]."""
        states = self._embeddings()
        bias = self._attention_bias()
        for layer in range(self._config.layers):
            states = self._layer(states, layer, bias)
        return states

    def _embeddings(self) -> str:
        w, weights = self._w, self._weights
        total = w.op("Gather", w.constant("word_embeddings", weights.words()), "input_ids", axis=0)
        if self._config.token_types:
            total = w.op("Add", total, self._token_types())
        total = w.op("Add", total, self._positions())
        total = self._normalised(total, weights.embedding_norm(), "embedding_norm")
        if self._config.embedding != self._config.hidden:
            total = self._linear(total, weights.embedding_projection(), "embedding_projection")
        return total

    def _token_types(self) -> str:
        table = self._weights.token_types()
        if len(table) == 1:  # RoBERTa: one type for everything, whatever the tokenizer says
            return self._w.constant("token_type_embedding", table[0])
        return self._w.op("Gather", self._w.constant("token_type_embeddings", table), "token_type_ids", axis=0)

    def _positions(self) -> str:
        w, config = self._w, self._config
        table = w.constant("position_embeddings", self._weights.positions())
        if not config.family.positions_skip_padding:
            rows = w.op("Slice", table, w.ints(0), self._length, w.ints(0))
            return w.op("Unsqueeze", rows, w.ints(0))
        padding = w.constant("padding_id", np.array(config.padding_id, dtype=np.int64))
        is_token = w.op("Cast", w.op("Not", w.op("Equal", "input_ids", padding)), to=TensorProto.INT64)
        counted = w.op("Mul", w.op("CumSum", is_token, w.constant("axis", np.array(1, dtype=np.int64))), is_token)
        return w.op("Gather", table, w.op("Add", counted, padding), axis=0)

    def _attention_bias(self) -> str:
        """float32 [n, 1, 1, L], or [n, heads, L, L] with relative positions: 0 for a token, very low for padding."""
        w = self._w
        mask = w.op("Cast", "attention_mask", to=TensorProto.FLOAT, name="mask")
        masked = w.op("Mul", w.op("Sub", w.number(1.0), mask), w.number(_MASKED))
        bias = w.op("Unsqueeze", masked, w.ints(1, 2), name="attention_bias")
        if not self._config.relative_buckets:
            return bias
        zero, one = (w.constant("scalar", np.array(value, dtype=np.int64)) for value in (0, 1))
        steps = w.op("Range", zero, w.op("Squeeze", self._length, w.ints(0)), one)
        distance = w.op("Sub", w.op("Unsqueeze", steps, w.ints(0)), w.op("Unsqueeze", steps, w.ints(1)))
        column = w.op("Add", distance, w.ints(self._config.position_limit - 1))
        relative = w.op("Gather", w.constant("relative_bias", self._weights.relative_bias()), column, axis=1)
        return w.op("Add", bias, w.op("Unsqueeze", relative, w.ints(0)))

    def _layer(self, states: str, layer: int, bias: str) -> str:
        w, weights = self._w, self._weights
        attended = self._attention(states, layer, bias)
        attended = self._linear(attended, weights.linear(layer, "attention_output"), f"l{layer}.attention_output")
        states = self._normalised(
            w.op("Add", attended, states), weights.norm(layer, "attention_norm"), f"l{layer}.attention_norm"
        )
        up = activate(w, self._config.activation, self._linear(states, weights.linear(layer, "up"), f"l{layer}.up"))
        down = self._linear(up, weights.linear(layer, "down"), f"l{layer}.down")
        return self._normalised(w.op("Add", down, states), weights.norm(layer, "norm"), f"l{layer}.norm")

    def _attention(self, states: str, layer: int, bias: str) -> str:
        w, weights = self._w, self._weights
        scale = np.float32(1 / np.sqrt(self._config.head_size))
        weight, shift = weights.linear(layer, "query")  # scaled once here instead of scaling L x L scores each time
        query = self._heads(states, (weight * scale, shift * scale), f"l{layer}.query", [0, 2, 1, 3])
        key = self._heads(states, weights.linear(layer, "key"), f"l{layer}.key", [0, 2, 3, 1])
        value = self._heads(states, weights.linear(layer, "value"), f"l{layer}.value", [0, 2, 1, 3])
        scores = w.op("Add", w.op("MatMul", query, key), bias)
        mixed = w.op("MatMul", w.op("Softmax", scores, axis=-1), value)
        return w.op("Reshape", w.op("Transpose", mixed, perm=[0, 2, 1, 3]), self._merge)

    def _heads(self, states: str, linear: tuple[Array, Array], name: str, order: list[int]) -> str:
        split = self._w.op("Reshape", self._linear(states, linear, name), self._split)
        return self._w.op("Transpose", split, perm=order)

    def _linear(self, states: str, linear: tuple[Array, Array], name: str) -> str:
        return (write_int8_linear if self._int8 else write_linear)(self._w, states, *linear, name)

    def _normalised(self, states: str, norm: tuple[Array, Array], name: str) -> str:
        scale, shift = norm
        return self._w.op(
            "LayerNormalization",
            states,
            self._w.constant(f"{name}.scale", scale),
            self._w.constant(f"{name}.shift", shift),
            axis=-1,
            epsilon=self._config.epsilon,
            name=name,
        )


def write_linear(w: GraphWriter, states: str, weight: Array, bias: Array | None, name: str) -> str:
    product = w.op("MatMul", states, w.constant(f"{name}.weight", weight.T), name=name)
    return product if bias is None else w.op("Add", product, w.constant(f"{name}.bias", bias))


def write_int8_linear(w: GraphWriter, states: str, weight: Array, bias: Array, name: str) -> str:
    """Symmetric, per output: weight[o, i] ~ int8[o, i] * scale[o]."""
    scale = np.maximum(np.abs(weight).max(axis=1) / 127, np.finfo(np.float32).tiny)
    quantised = np.rint(weight / scale[:, None]).astype(np.int8)
    stored = w.constant(f"{name}.weight", quantised.T)
    restored = w.op("DequantizeLinear", stored, w.constant(f"{name}.scale", scale), axis=1)
    return w.op("Add", w.op("MatMul", states, restored, name=name), w.constant(f"{name}.bias", bias))


def activate(w: GraphWriter, activation: str, value: str) -> str:
    if activation == "gelu":
        return w.op("Gelu", value)
    if activation == "gelu_tanh":
        return w.op("Gelu", value, approximate="tanh")
    if activation == "silu":
        return w.op("Mul", value, w.op("Sigmoid", value))
    return value if activation == "identity" else w.op({"relu": "Relu", "tanh": "Tanh"}[activation], value)


def _score(w: GraphWriter, weights: EncoderWeights, states: str) -> None:
    first = _first_token(w, states)
    dense = write_linear(w, first, *weights.head_dense(), "head.dense")
    dense = activate(w, weights.config.family.head.activation, dense)
    logit = write_linear(w, dense, *weights.head_output(), "head.output")
    w.op("Squeeze", logit, w.ints(1), name="scores")


def _embed(w: GraphWriter, recipe: Recipe, states: str) -> None:
    vector = _pool(w, recipe.pooling, states)
    for number, projection in enumerate(recipe.projections):
        vector = write_linear(w, vector, *projection.linear(), f"projection{number}")
        vector = activate(w, projection.activation, vector)
    vector = w.op("Slice", vector, w.ints(0), w.ints(recipe.dimensions), w.ints(1))
    if recipe.normalize is Normalize.ALWAYS:
        norm = w.op("ReduceL2", vector, w.ints(1), keepdims=1)
        vector = w.op("Div", vector, w.op("Max", norm, w.number(_EPSILON_NORM)))
    w.op("Identity", vector, name="embeddings")


def _pool(w: GraphWriter, pooling: Pooling, states: str) -> str:
    if pooling is Pooling.CLS:
        return _first_token(w, states)
    mask = w.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    if pooling is Pooling.LAST_TOKEN:
        counted = w.op("CumSum", "attention_mask", w.constant("axis", np.array(1, dtype=np.int64)))
        total = w.op("ReduceSum", "attention_mask", w.ints(1), keepdims=1)
        is_last = w.op("Cast", w.op("Equal", counted, total), to=TensorProto.FLOAT)
        mask = w.op("Mul", mask, is_last)
    share = w.op("Div", mask, w.op("Max", w.op("ReduceSum", mask, w.ints(1), keepdims=1), w.number(1e-9)))
    return w.op("ReduceSum", w.op("Mul", states, w.op("Unsqueeze", share, w.ints(2))), w.ints(1), keepdims=0)


def _first_token(w: GraphWriter, states: str) -> str:
    return w.op("Gather", states, w.constant("first", np.array(0, dtype=np.int64)), axis=1)
