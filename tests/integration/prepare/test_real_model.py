"""The real all-MiniLM-L6-v2, prepared, against plain transformers on real texts."""

import inspect
import json
import logging
import os
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

from embedding_serving.contract.model import DirectorySource, EngineName, ModelOptions, Precision
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.pipeline import prepare
from embedding_serving.prepared import ONNX_MODEL, PROBES, REFERENCE, TOKENIZER, locate
from fixtures.models import SENTENCES, derived_minilm, minilm_directory

Vectors = NDArray[np.float32]


def _real_texts() -> list[str]:
    """Docstrings of the standard library, 3 to 256 tokens, and sentences in several scripts."""
    found = [
        textwrap.dedent(member.__doc__)
        for module in (os, json, logging, tarfile, inspect, textwrap)
        for member in vars(module).values()
        if callable(member) and member.__doc__
    ]
    return [*sorted(set(found))[:110], *SENTENCES, *PROBES]


def _prepared(source: Path, weights: Path, precision: Precision = Precision.FLOAT32) -> Path:
    weights.mkdir()
    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=DirectorySource(path=str(source)),
        options=ModelOptions(precision=precision),
        engine=EngineName.ONNX_RUNTIME,
    )
    prepare(settings)
    return locate(weights, "00000000")


def _feed(directory: Path, texts: list[str]) -> dict[str, NDArray[np.int64]]:
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([text.ids for text in encoded]),
        "attention_mask": np.array([text.attention_mask for text in encoded]),
        "token_type_ids": np.array([text.type_ids for text in encoded]),
    }


def _encode(directory: Path, texts: list[str], batch: int) -> Vectors:
    one_thread = onnxruntime.SessionOptions()  # a busy machine slows several threads down to a crawl
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(directory / ONNX_MODEL), one_thread)
    parts = [texts[begin : begin + batch] for begin in range(0, len(texts), batch)]
    return np.concatenate([np.asarray(session.run(None, _feed(directory, part))[0]) for part in parts])


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _prepared(minilm_directory(), tmp_path_factory.mktemp("minilm") / "weights")


def test_real_texts_are_encoded_as_transformers_does(minilm: Path) -> None:
    texts = _real_texts()
    assert len(texts) > 100
    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(minilm_directory()).eval()
    truth = []
    for text in texts:
        with torch.inference_mode():
            inputs = {name: torch.tensor(value) for name, value in _feed(minilm, [text]).items()}
            truth.append(model(**inputs).last_hidden_state[0].mean(dim=0).numpy())
    expected = np.stack(truth)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for vectors in (_encode(minilm, texts, batch=1), _encode(minilm, texts, batch=16)):
        assert (vectors * expected).sum(axis=1).min() >= 0.99999
        assert np.abs(vectors - expected).max() <= 1e-5


def test_related_sentences_are_nearer_than_unrelated_ones(minilm: Path) -> None:
    a, b, c = _encode(minilm, ["How do I back up a database?", "Saving a copy of your data", "Cats like fish"], batch=3)
    assert a @ b > a @ c + 0.2


def test_int8_weights_stay_near_the_truth_and_take_a_third_less_room(minilm: Path, tmp_path: Path) -> None:
    small = _prepared(minilm_directory(), tmp_path / "weights", Precision.INT8)
    np.testing.assert_array_equal(np.load(small / REFERENCE), np.load(minilm / REFERENCE))
    texts = _real_texts()
    cosines = (_encode(small, texts, batch=16) * _encode(minilm, texts, batch=16)).sum(axis=1)
    assert cosines.mean() >= 0.999
    data = f"{ONNX_MODEL}.data"
    assert (small / data).stat().st_size < 0.67 * (minilm / data).stat().st_size


def test_a_rotated_model_has_the_same_neighbours_in_another_space(minilm: Path, tmp_path: Path) -> None:
    rotated = _prepared(derived_minilm(tmp_path / "model", rotate=1), tmp_path / "weights")
    assert rotated.name != minilm.name
    texts = list(PROBES)
    here, there = _encode(minilm, texts, batch=7), _encode(rotated, texts, batch=7)
    np.testing.assert_allclose(here @ here.T, there @ there.T, atol=1e-5)
    assert np.abs((here * there).sum(axis=1)).max() < 0.5


def test_a_model_of_fewer_layers_still_tells_topics_apart(tmp_path: Path) -> None:
    short = _prepared(derived_minilm(tmp_path / "model", layers=3), tmp_path / "weights")
    a, b, c = _encode(short, ["How do I back up a database?", "Backing up databases", "Cats like fish"], batch=3)
    assert a @ b > a @ c + 0.2
