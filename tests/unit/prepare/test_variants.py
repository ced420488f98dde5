"""Ways in which published files differ while the model is the same, and steps after the encoder."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from embedding_serving.contract.model import DirectorySource, EngineName, ModelOptions, Normalize, Pooling, Task
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.errors import UnsupportedModelError
from embedding_serving.prepare.pipeline import prepare
from embedding_serving.prepared import ONNX_MODEL, PROBES, REFERENCE, TOKENIZER, PreparedModel, locate
from fixtures.models import TINY_HIDDEN, tiny_model

Vectors = NDArray[np.float32]

_ONE_THREAD = onnxruntime.SessionOptions()
_ONE_THREAD.intra_op_num_threads = 1


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def _prepare(
    tmp_path: Path, source: Path, engine: EngineName = EngineName.ONNX_RUNTIME, **options: object
) -> tuple[Path, PreparedModel]:
    weights = tmp_path / f"weights-{len(list(tmp_path.iterdir()))}"
    weights.mkdir()
    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=DirectorySource(path=str(source)),
        options=ModelOptions.model_validate(options),
        engine=engine,
    )
    manifest = prepare(settings)
    return locate(weights, "00000000"), manifest


def _reference(tmp_path: Path, source: Path) -> Vectors:
    return np.asarray(np.load(_prepare(tmp_path, source)[0] / REFERENCE))


def _graph(directory: Path) -> Vectors:
    session = onnxruntime.InferenceSession(str(directory / ONNX_MODEL), _ONE_THREAD)
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.enable_truncation(PreparedModel.load(directory).max_tokens)
    encoded = [tokenizer.encode(text) for text in PROBES]
    rows = []
    for text in encoded:
        feed = {"input_ids": [text.ids], "attention_mask": [text.attention_mask], "token_type_ids": [text.type_ids]}
        rows.append(np.asarray(session.run(None, {name: np.array(value) for name, value in feed.items()})[0])[0])
    return np.stack(rows)


def _rename(source: Path, old: str, new: str, prefix: str = "") -> None:
    tensors = load_file(source / "model.safetensors")
    save_file({prefix + name.replace(old, new): value for name, value in tensors.items()}, source / "model.safetensors")


def test_weights_wrapped_in_a_language_model_are_found(source: Path, tmp_path: Path) -> None:
    plain = _reference(tmp_path, source)
    _rename(source, "", "", prefix="bert.")
    tensors = load_file(source / "model.safetensors")
    save_file({**tensors, "cls.predictions.bias": np.zeros(3, np.float32)}, source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    np.testing.assert_array_equal(_reference(tmp_path, source), plain)


def test_norms_named_gamma_and_beta_are_found(source: Path, tmp_path: Path) -> None:
    plain = _reference(tmp_path, source)
    _rename(source, "LayerNorm.weight", "LayerNorm.gamma")
    _rename(source, "LayerNorm.bias", "LayerNorm.beta")
    np.testing.assert_array_equal(_reference(tmp_path, source), plain)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_half_precision_are_computed_in_float32(source: Path, tmp_path: Path, kind: str) -> None:
    import ml_dtypes

    plain = _reference(tmp_path, source)
    stored = np.float16 if kind == "float16" else ml_dtypes.bfloat16
    tensors = load_file(source / "model.safetensors")
    save_file({name: value.astype(stored) for name, value in tensors.items()}, source / "model.safetensors")
    directory, _ = _prepare(tmp_path, source)
    reference = np.load(directory / REFERENCE)
    assert reference.dtype == np.float32
    assert (reference * plain).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(_graph(directory), reference, atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "tanh"])
def test_every_activation_is_the_same_in_graph_and_reference(source: Path, tmp_path: Path, activation: str) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "hidden_act": activation}))
    directory, _ = _prepare(tmp_path, source)
    np.testing.assert_allclose(_graph(directory), np.load(directory / REFERENCE), atol=1e-5)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "ReLU"])
def test_a_dense_step_runs_between_pooling_and_normalisation(source: Path, tmp_path: Path, activation: str) -> None:
    pooled = np.load(_prepare(tmp_path, source, normalize=Normalize.NEVER)[0] / REFERENCE)
    weight = np.random.default_rng(5).normal(size=(8, TINY_HIDDEN)).astype(np.float32)
    bias = np.linspace(0.1, 0.5, 8, dtype=np.float32)
    modules = json.loads((source / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "2_Dense").mkdir()
    settings = {"activation_function": f"torch.nn.modules.activation.{activation}"}
    (source / "2_Dense" / "config.json").write_text(json.dumps(settings))
    save_file({"linear.weight": weight, "linear.bias": bias}, source / "2_Dense" / "model.safetensors")
    directory, manifest = _prepare(tmp_path, source)
    linear = pooled @ weight.T + bias
    expected = {"Tanh": np.tanh(linear), "Identity": linear, "ReLU": np.maximum(linear, 0)}[activation]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert manifest.dimensions == 8
    np.testing.assert_allclose(np.load(directory / REFERENCE), expected, atol=1e-5)
    np.testing.assert_allclose(_graph(directory), expected, atol=1e-5)
    with pytest.raises(UnsupportedModelError, match="dense steps"):
        _prepare(tmp_path, source, engine=EngineName.TORCH)
    assert EngineName.TORCH not in _prepare(tmp_path, source, engine=EngineName.AUTO)[1].engines


def test_lowercasing_by_sentence_transformers_becomes_part_of_the_tokenizer(source: Path, tmp_path: Path) -> None:
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": true}')
    served = Tokenizer.from_file(str(_prepare(tmp_path, source)[0] / TOKENIZER))
    assert served.encode("THE CAT").ids == served.encode("the cat").ids


def test_the_served_tokenizer_neither_truncates_nor_pads(source: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(source / "tokenizer.json"))
    served = Tokenizer.from_file(str(_prepare(tmp_path, source)[0] / TOKENIZER))
    assert (served.truncation, served.padding) == (None, None)
    assert len(served.encode("the cat sat on the mat").ids) > 5
    assert len(served.encode("x").ids) < 5


@pytest.mark.parametrize(("family", "pooling"), [("modernbert", Pooling.MEAN), ("qwen3", Pooling.LAST_TOKEN)])
def test_families_of_torch_alone_keep_their_files_and_get_a_reference(tmp_path: Path, family: str, pooling: Pooling) -> None:
    source = tiny_model(tmp_path / "model", family, pooling="lasttoken" if pooling is Pooling.LAST_TOKEN else "mean")
    for engine in (EngineName.TORCH, EngineName.AUTO):
        directory, manifest = _prepare(tmp_path, source, engine=engine)
        assert manifest.engines == (EngineName.TORCH,)
        assert manifest.pooling is pooling
        assert (directory / "torch" / "config.json").is_file()
        reference = np.load(directory / REFERENCE)
        assert reference.shape == (len(PROBES), TINY_HIDDEN)
        np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-5)


def test_the_torch_reference_agrees_with_numpys(source: Path, tmp_path: Path) -> None:
    from embedding_serving.prepare import text
    from embedding_serving.prepare.directory_source import open_directory
    from embedding_serving.prepare.layout import ModelFiles
    from embedding_serving.prepare.resolve import resolve
    from embedding_serving.prepare.torch_reference import torch_reference

    files = ModelFiles.read(source, open_directory(source))
    recipe = resolve(files, ModelOptions())
    probes = text.probe_ids(text.tokenizer_document(files, recipe), recipe)
    np.testing.assert_allclose(torch_reference(source, recipe, probes), _reference(tmp_path, source), atol=1e-5)


def test_a_reranker_of_torch_alone_is_scored(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", "modernbert", reranker=True)
    directory, manifest = _prepare(tmp_path, source, engine=EngineName.TORCH, task=Task.RERANK)
    assert manifest.dimensions == 1
    assert np.load(directory / REFERENCE).shape == (len(PROBES),)
