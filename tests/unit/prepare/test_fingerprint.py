"""Equal content has one fingerprint, whatever it is packed in; anything that can move a vector changes it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embedding_serving.contract.model import DirectorySource, ModelOptions, Normalize, Pooling, Precision
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.pipeline import prepare
from fixtures.models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "bert")


def _fingerprint(tmp_path: Path, source: Path, **options: object) -> str:
    weights = tmp_path / f"weights-{len(list(tmp_path.iterdir()))}"
    weights.mkdir()
    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=DirectorySource(path=str(source)),
        options=ModelOptions.model_validate(options),
    )
    return prepare(settings, with_torch=False).fingerprint


def _changed_json(source: Path, name: str, **changes: object) -> None:
    path = source / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def test_a_copy_has_the_same_fingerprint(model: Path, copy: Path, tmp_path: Path) -> None:
    assert _fingerprint(tmp_path, model) == _fingerprint(tmp_path, copy)


def test_shards_and_metadata_do_not_matter(model: Path, copy: Path, tmp_path: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, copy / file, metadata={"made": "elsewhere"})
    (copy / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert _fingerprint(tmp_path, copy) == _fingerprint(tmp_path, model)


def test_keys_that_take_no_part_in_the_computation_do_not_matter(model: Path, copy: Path, tmp_path: Path) -> None:
    _changed_json(copy, "config.json", transformers_version="9.9", torch_dtype="float16", _name_or_path="elsewhere")
    assert _fingerprint(tmp_path, copy) == _fingerprint(tmp_path, model)


def test_readme_and_stored_truncation_do_not_matter(model: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "README.md").write_text("another text")
    truncation = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    _changed_json(copy, "tokenizer.json", truncation=truncation)
    assert _fingerprint(tmp_path, copy) == _fingerprint(tmp_path, model)


def test_one_changed_weight_changes_it(model: Path, copy: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.copy() for name, tensor in load_file(copy / "model.safetensors").items()}
    tensors["encoder.layer.0.output.dense.bias"][0] += np.float32(1e-3)
    save_file(tensors, copy / "model.safetensors")
    assert _fingerprint(tmp_path, copy) != _fingerprint(tmp_path, model)


def test_a_changed_layer_norm_epsilon_changes_it(model: Path, copy: Path, tmp_path: Path) -> None:
    _changed_json(copy, "config.json", layer_norm_eps=1e-5)
    assert _fingerprint(tmp_path, copy) != _fingerprint(tmp_path, model)


def test_a_changed_tokenizer_changes_it(model: Path, copy: Path, tmp_path: Path) -> None:
    document = json.loads((copy / "tokenizer.json").read_text())
    document["normalizer"]["lowercase"] = False
    (copy / "tokenizer.json").write_text(json.dumps(document))
    assert _fingerprint(tmp_path, copy) != _fingerprint(tmp_path, model)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": Pooling.CLS},
        {"normalize": Normalize.NEVER},
        {"dimensions": 8},
        {"max_tokens": 50},
        {"query_prefix": "query: "},
        {"document_prefix": "passage: "},
        {"precision": Precision.BFLOAT16},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_choice_that_moves_vectors_changes_it(model: Path, tmp_path: Path, options: dict[str, object]) -> None:
    assert _fingerprint(tmp_path, model, **options) != _fingerprint(tmp_path, model)


def test_naming_what_auto_finds_is_the_same_vector_space(model: Path, tmp_path: Path) -> None:
    named = _fingerprint(tmp_path, model, pooling=Pooling.MEAN, normalize=Normalize.ALWAYS, dimensions=32)
    assert named == _fingerprint(tmp_path, model)


def test_it_does_not_drift_between_versions(tmp_path: Path) -> None:
    """A change here rebuilds every index in the world: it needs a new `format` in the fingerprint and a release note."""
    from fixtures.models import minilm_directory

    expected = "f705183cf850f2a5ff43f78bdaf230239958902b3d74d50f3b9855e4d182d7c4"
    assert _fingerprint(tmp_path, minilm_directory()) == expected
