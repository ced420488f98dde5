"""Models that can't be served: each is refused with the culprit's name and a way out, and nothing is left on the volume."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedding_serving.contract.model import DirectorySource, EngineName, ModelOptions, Precision, Task
from embedding_serving.contract.reports import Outcome
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.errors import PrepareError
from embedding_serving.prepare.pipeline import prepare
from fixtures import models


def _refusal(
    tmp_path: Path, source: Path, engine: EngineName = EngineName.AUTO, expected: str | None = None, **options: object
) -> PrepareError:
    weights = tmp_path / "weights"
    weights.mkdir(exist_ok=True)
    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=DirectorySource(path=str(source)),
        options=ModelOptions.model_validate(options),
        engine=engine,
        expected_fingerprint=expected,
    )
    with pytest.raises(PrepareError) as refusal:
        prepare(settings, with_torch=False)
    assert [path.name for path in weights.iterdir() if not path.name.startswith(".")] == []
    assert not list(weights.glob(".prepare/*/build/*"))
    return refusal.value


Maker = Callable[[Path], Path]


def _only_h5(directory: Path) -> Path:
    models.pickle_only_model(directory)
    (directory / "pytorch_model.bin").rename(directory / "tf_model.h5")
    return directory


def _adapter(directory: Path) -> Path:
    models.pickle_only_model(directory)
    (directory / "pytorch_model.bin").unlink()
    save_file({"lora": np.zeros((2, 2), np.float32)}, directory / "adapter_model.safetensors")
    return directory


def _no_weights(directory: Path) -> Path:
    (models.tiny_model(directory) / "model.safetensors").unlink()
    return directory


def _missing_shard(directory: Path) -> Path:
    weights = models.tiny_model(directory) / "model.safetensors"
    weights.rename(directory / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def _index_leads_outside(directory: Path) -> Path:
    _missing_shard(directory)
    index = {"weight_map": {"a": "../model-00001-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def _missing_tensor(directory: Path) -> Path:
    return models.with_tensors(directory, lambda tensors: tensors.__delitem__("encoder.layer.1.attention.self.key.bias"))


def _foreign_tokenizer(directory: Path) -> Path:
    return models.with_config(directory, vocab_size=7)


def _broken_tokenizer(directory: Path) -> Path:
    (models.tiny_model(directory) / "tokenizer.json").write_text('{"model": {"type": "Nonsense"}}')
    return directory


def _list_config(directory: Path) -> Path:
    (models.tiny_model(directory) / "config.json").write_text("[]")
    return directory


def _huge_config(directory: Path) -> Path:
    return models.with_config(directory, num_hidden_layers=10**9)


@pytest.mark.parametrize(
    ("make", "outcome", "words"),
    [
        (models.pickle_only_model, Outcome.UNSAFE_WEIGHTS, ["pytorch_model.bin", "safe_serialization"]),
        (_only_h5, Outcome.UNSAFE_WEIGHTS, ["tf_model.h5"]),
        (_adapter, Outcome.UNSUPPORTED_MODEL, ["adapter", "merge"]),
        (_no_weights, Outcome.UNSUPPORTED_MODEL, ["no weights", "model.safetensors"]),
        (models.custom_code_model, Outcome.UNSUPPORTED_MODEL, ["auto_map", "no code"]),
        (models.unknown_architecture_model, Outcome.UNSUPPORTED_MODEL, ["FrobnicatorModel", "xlm-roberta", "qwen3"]),
        (models.model_with_broken_json, Outcome.UNSUPPORTED_MODEL, ["config.json is not valid JSON"]),
        (_list_config, Outcome.UNSUPPORTED_MODEL, ["config.json must hold a JSON object"]),
        (_huge_config, Outcome.UNSUPPORTED_MODEL, ["num_hidden_layers"]),
        (models.model_without_tokenizer, Outcome.UNSUPPORTED_MODEL, ["no tokenizer.json", "save_pretrained"]),
        (_broken_tokenizer, Outcome.UNSUPPORTED_MODEL, ["tokenizer.json can't be loaded"]),
        (models.truncated_model, Outcome.UNSUPPORTED_MODEL, ["model.safetensors is truncated"]),
        (models.misshapen_model, Outcome.UNSUPPORTED_MODEL, ["encoder.layer.0.intermediate.dense.weight", "[63, 32]"]),
        (_missing_tensor, Outcome.UNSUPPORTED_MODEL, ["lack tensor encoder.layer.1.attention.self.key.bias"]),
        (_missing_shard, Outcome.UNSUPPORTED_MODEL, ["model-00002-of-00002.safetensors", "incomplete"]),
        (_index_leads_outside, Outcome.UNSUPPORTED_MODEL, ["../model-00001"]),
        (models.nan_model, Outcome.UNSUPPORTED_MODEL, ["encoder.layer.1.output.dense.weight", "NaN"]),
        (_foreign_tokenizer, Outcome.UNSUPPORTED_MODEL, ["[", "7"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_model_is_refused_by_name(tmp_path: Path, make: Maker, outcome: Outcome, words: list[str]) -> None:
    refusal = _refusal(tmp_path, make(tmp_path / "model"))
    assert refusal.outcome is outcome
    for word in words:
        assert word in refusal.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"hidden_act": "xielu"}, "activation 'xielu'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"num_attention_heads": 5}, "not a multiple"),
        ({"hidden_size": "32"}, "hidden_size must be a whole number"),
        ({"vocab_size": None}, "vocab_size"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering does not fit task Embed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_configuration_that_asks_for_another_computation_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    assert words in _refusal(tmp_path, models.with_config(tmp_path / "model", **changes)).message


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, tmp_path / "nowhere")
    assert refusal.outcome is Outcome.SOURCE_NOT_FOUND
    assert "nowhere" in refusal.message


def test_an_empty_directory_is_named_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is empty" in _refusal(tmp_path, tmp_path / "empty").message


def test_a_link_out_of_the_volume_is_not_followed(tmp_path: Path) -> None:
    source = models.tiny_model(tmp_path / "model")
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.json").symlink_to("/proc/self/environ")
    assert "no regular file on its volume" in _refusal(tmp_path, source).message


def test_a_family_that_only_torch_serves_says_so_where_torch_is_not_installed(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, models.tiny_model(tmp_path / "model", "modernbert"))
    assert refusal.outcome is Outcome.UNSUPPORTED_MODEL
    assert "runtime.engine Torch" in refusal.message
    assert "GPU" in refusal.message


def test_choices_that_no_engine_can_meet_say_what_to_use_instead(tmp_path: Path) -> None:
    source = models.tiny_model(tmp_path / "model")
    assert "use Auto" in _refusal(tmp_path, source, engine=EngineName.TRITON).message
    assert "set precision BFloat16" in _refusal(tmp_path, source, engine=EngineName.TORCH, precision=Precision.INT8).message


def test_a_classifier_with_several_outputs_is_no_reranker(tmp_path: Path) -> None:
    source = models.tiny_model(tmp_path / "model", reranker=True)
    tensors = load_file(source / "model.safetensors")
    tensors["classifier.weight"] = np.repeat(tensors["classifier.weight"], 3, axis=0)
    save_file(tensors, source / "model.safetensors")
    assert "has 3 outputs" in _refusal(tmp_path, source, task=Task.RERANK).message


def test_changed_files_behind_a_known_revision_are_a_fingerprint_mismatch(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, models.tiny_model(tmp_path / "model"), expected="ab" * 32)
    assert refusal.outcome is Outcome.FINGERPRINT_MISMATCH
    assert "abababababab" in refusal.message
