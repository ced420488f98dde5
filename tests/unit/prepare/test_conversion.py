"""The ONNX graph and the numpy reference against transformers: one model of each family, alone and padded in a batch."""

from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForSequenceClassification

from embedding_serving.contract.model import DirectorySource, EngineName, ModelOptions, Normalize, Pooling, Task
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.families import FAMILIES
from embedding_serving.prepare.pipeline import prepare
from embedding_serving.prepared import ONNX_MODEL, PROBES, REFERENCE, TOKENIZER, PreparedModel, locate
from fixtures.models import SENTENCES, TINY_HIDDEN, tiny_model

Vectors = NDArray[np.float32]

_ONE_THREAD = onnxruntime.SessionOptions()
_ONE_THREAD.intra_op_num_threads = 1
torch.set_num_threads(1)

_QUERY = "what does a shard acknowledge"
_LONG = " ".join(SENTENCES) * 4
TEXTS = (*SENTENCES, _LONG, "x", "")


def _prepare(tmp_path: Path, source: Path, **options: object) -> tuple[Path, PreparedModel]:
    settings = PrepareSettings(
        revision="12345678",
        weights_dir=str(tmp_path / "weights"),
        source=DirectorySource(path=str(source)),
        options=ModelOptions.model_validate(options),
        engine=EngineName.ONNX_RUNTIME,
    )
    (tmp_path / "weights").mkdir(parents=True, exist_ok=True)
    manifest = prepare(settings)
    return locate(tmp_path / "weights", "12345678"), manifest


class _Prepared:
    """Encodes texts with a prepared directory as the server does."""

    def __init__(self, directory: Path, manifest: PreparedModel, padding_id: int) -> None:
        self._session = onnxruntime.InferenceSession(str(directory / ONNX_MODEL), _ONE_THREAD)
        self.compiled = openvino.Core().compile_model(
            str(directory / ONNX_MODEL), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        self.tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        self.tokenizer.enable_truncation(manifest.max_tokens)
        self._padding_id = padding_id

    def feed(self, texts: list[str], query: str | None = None) -> dict[str, NDArray[np.int64]]:
        encoded = [self.tokenizer.encode(query, text) if query else self.tokenizer.encode(text) for text in texts]
        longest = max(len(text.ids) for text in encoded)

        def padded(rows: list[list[int]], fill: int) -> NDArray[np.int64]:
            return np.array([row + [fill] * (longest - len(row)) for row in rows])

        return {
            "input_ids": padded([text.ids for text in encoded], self._padding_id),
            "attention_mask": padded([text.attention_mask for text in encoded], 0),
            "token_type_ids": padded([text.type_ids for text in encoded], 0),
        }

    def run(self, texts: list[str], query: str | None = None) -> Vectors:
        return np.asarray(self._session.run(None, self.feed(texts, query))[0])

    def run_openvino(self, texts: list[str], query: str | None = None) -> Vectors:
        return np.asarray(self.compiled(self.feed(texts, query))[0])


def _padding_id(family: str) -> int:
    return 1 if FAMILIES[family].positions_skip_padding else 0


def _torch_states(source: Path, feed: dict[str, NDArray[np.int64]], family: str) -> tuple[Vectors, Vectors]:
    """(last hidden states, attention mask) of transformers, float32."""
    model = AutoModel.from_pretrained(source).eval()
    inputs = {name: torch.tensor(value) for name, value in feed.items()}
    if not FAMILIES[family].has_token_types:
        inputs.pop("token_type_ids")
    with torch.inference_mode():
        return model(**inputs).last_hidden_state.numpy(), feed["attention_mask"].astype(np.float32)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _assert_equal(actual: Vectors, expected: Vectors) -> None:
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)
    if actual.ndim == 2:
        cosines = (_unit(actual) * _unit(expected)).sum(axis=1)
        assert cosines.min() >= 0.99999


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_encodes_as_transformers_does_alone_or_in_a_batch(family: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", family)
    directory, manifest = _prepare(tmp_path, source)
    encoder = _Prepared(directory, manifest, _padding_id(family))
    alone = [encoder.feed([text]) for text in TEXTS]
    expected = []
    for feed in alone:
        states, _ = _torch_states(source, feed, family)
        expected.append(states[0].mean(axis=0))
    truth = _unit(np.stack(expected))
    assert manifest.dimensions == TINY_HIDDEN
    _assert_equal(np.concatenate([encoder.run([text]) for text in TEXTS]), truth)
    _assert_equal(encoder.run(list(TEXTS)), truth)
    _assert_equal(encoder.run_openvino(list(TEXTS)), truth)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_scores_pairs_as_transformers_does(family: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", family, reranker=True)
    directory, manifest = _prepare(tmp_path, source, task=Task.RERANK)
    encoder = _Prepared(directory, manifest, _padding_id(family))
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    expected = []
    for text in TEXTS:
        inputs = {name: torch.tensor(value) for name, value in encoder.feed([text], _QUERY).items()}
        if not FAMILIES[family].has_token_types:
            inputs.pop("token_type_ids")
        with torch.inference_mode():
            expected.append(model(**inputs).logits[0, 0].item())
    truth = np.array(expected, dtype=np.float32)
    assert manifest.task is Task.RERANK
    assert manifest.dimensions == 1
    _assert_equal(np.concatenate([encoder.run([text], _QUERY) for text in TEXTS]), truth)
    _assert_equal(encoder.run(list(TEXTS), _QUERY), truth)
    _assert_equal(encoder.run_openvino(list(TEXTS), _QUERY), truth)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_the_poolings_take_the_right_tokens(family: str, pooling: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", family, pooling=pooling)
    directory, manifest = _prepare(tmp_path, source, normalize=Normalize.NEVER)
    encoder = _Prepared(directory, manifest, _padding_id(family))
    assert manifest.pooling is {"mean": Pooling.MEAN, "cls": Pooling.CLS, "lasttoken": Pooling.LAST_TOKEN}[pooling]
    expected = []
    for text in TEXTS:
        states, _ = _torch_states(source, encoder.feed([text]), family)
        expected.append({"mean": states[0].mean(axis=0), "cls": states[0, 0], "lasttoken": states[0, -1]}[pooling])
    for vectors in (encoder.run(list(TEXTS)), encoder.run_openvino(list(TEXTS))):
        _assert_equal(vectors, np.stack(expected))


def test_shortened_vectors_are_a_prefix_of_the_whole_and_normalised_again(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model")
    whole, manifest = _prepare(tmp_path, source)
    vectors = _Prepared(whole, manifest, 0).run(list(SENTENCES))
    short, manifest = _prepare(tmp_path / "short", source, dimensions=8)
    assert manifest.dimensions == 8
    _assert_equal(_Prepared(short, manifest, 0).run(list(SENTENCES)), _unit(vectors[:, :8]))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_reference_is_the_graphs_own_answer_to_the_probes(family: str, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", family)
    directory, manifest = _prepare(tmp_path, source)
    reference = np.load(directory / REFERENCE)
    assert reference.shape == (len(PROBES), TINY_HIDDEN)
    _assert_equal(_Prepared(directory, manifest, _padding_id(family)).run(list(PROBES)), reference)


def test_the_reference_of_a_reranker_scores_every_probe_against_the_first(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model", "roberta", reranker=True)
    directory, manifest = _prepare(tmp_path, source, task=Task.RERANK)
    reference = np.load(directory / REFERENCE)
    assert reference.shape == (len(PROBES),)
    _assert_equal(_Prepared(directory, manifest, 1).run(list(PROBES), query=PROBES[0]), reference)


def test_batch_mates_do_not_change_a_vector_even_when_padding_holds_rubbish(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model")
    directory, manifest = _prepare(tmp_path, source)
    encoder = _Prepared(directory, manifest, 0)
    alone = encoder.run(["a cat"])
    feed = encoder.feed(["a cat", _LONG])
    padding = feed["attention_mask"] == 0
    feed["input_ids"][padding] = np.random.default_rng(7).integers(5, 50, int(padding.sum()))
    session = onnxruntime.InferenceSession(str(directory / ONNX_MODEL), _ONE_THREAD)
    _assert_equal(np.asarray(session.run(None, feed)[0])[:1], alone)


def test_a_row_without_any_token_is_finite(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "model")
    directory, manifest = _prepare(tmp_path, source)
    encoder = _Prepared(directory, manifest, 0)
    feed = encoder.feed(["a cat", "a dog"])
    feed["attention_mask"][1] = 0
    assert np.isfinite(np.asarray(encoder.compiled(feed)[0])).all()
