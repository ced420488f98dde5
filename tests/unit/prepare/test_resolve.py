"""`Auto` becomes what the model's own files say."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedding_serving.contract.model import ModelOptions, Normalize, Pooling, Task
from embedding_serving.prepare.directory_source import open_directory
from embedding_serving.prepare.errors import UnsupportedModelError
from embedding_serving.prepare.layout import ModelFiles
from embedding_serving.prepare.resolve import Recipe, resolve
from fixtures.models import (
    TINY_HIDDEN,
    TINY_POSITIONS,
    derived_minilm,
    minilm_directory,
    tiny_model,
    write_sentence_transformers,
)


def _resolve(root: Path, **options: object) -> Recipe:
    files = ModelFiles.read(root, open_directory(root))
    return resolve(files, ModelOptions.model_validate(options))


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "bert")


def test_minilm_is_what_its_card_says() -> None:
    recipe = _resolve(minilm_directory())
    assert (recipe.pooling, recipe.normalize, recipe.dimensions, recipe.max_tokens) == (
        Pooling.MEAN,
        Normalize.ALWAYS,
        384,
        256,
    )


@pytest.mark.parametrize(("mode", "pooling"), [("mean", Pooling.MEAN), ("cls", Pooling.CLS), ("lasttoken", Pooling.LAST_TOKEN)])
def test_both_spellings_of_the_pooling_file_are_read(bert: Path, tmp_path: Path, mode: str, pooling: Pooling) -> None:
    write_sentence_transformers(bert, pooling=mode)
    assert _resolve(bert).pooling is pooling
    assert _resolve(derived_minilm(tmp_path / "old", layers=1, pooling=mode)).pooling is pooling


def test_no_normalize_module_means_no_normalisation(bert: Path) -> None:
    write_sentence_transformers(bert, normalize=False)
    assert _resolve(bert).normalize is Normalize.NEVER
    assert _resolve(bert, normalize=Normalize.ALWAYS).normalize is Normalize.ALWAYS


def test_without_sentence_transformers_files_an_encoder_pools_by_mean_and_a_decoder_by_last_token(tmp_path: Path) -> None:
    for family, pooling in (("bert", Pooling.MEAN), ("qwen3", Pooling.LAST_TOKEN)):
        root = tiny_model(tmp_path / family, family)
        (root / "modules.json").unlink()
        recipe = _resolve(root)
        assert (recipe.pooling, recipe.normalize) == (pooling, Normalize.NEVER)


def test_the_spec_overrides_a_pooling_that_is_not_supported(bert: Path) -> None:
    write_sentence_transformers(bert, pooling="max")
    with pytest.raises(UnsupportedModelError, match=r"pools by max.*spec.model.pooling"):
        _resolve(bert)
    assert _resolve(bert, pooling=Pooling.MEAN).pooling is Pooling.MEAN


def test_max_tokens_come_from_the_spec_then_the_files_then_the_positions(bert: Path) -> None:
    assert _resolve(bert).max_tokens == TINY_POSITIONS
    _write(bert / "tokenizer_config.json", {"model_max_length": 10**30})
    assert _resolve(bert).max_tokens == TINY_POSITIONS
    _write(bert / "tokenizer_config.json", {"model_max_length": 64})
    assert _resolve(bert).max_tokens == 64
    _write(bert / "sentence_bert_config.json", {"max_seq_length": 48})
    assert _resolve(bert).max_tokens == 48
    assert _resolve(bert, max_tokens=80).max_tokens == 80
    with pytest.raises(UnsupportedModelError, match="maxTokens is 97, but the model takes at most 96"):
        _resolve(bert, max_tokens=97)


def test_positions_that_skip_padding_leave_two_tokens_less(tmp_path: Path) -> None:
    root = tiny_model(tmp_path / "roberta", "roberta")
    (root / "tokenizer_config.json").unlink()
    config = json.loads((root / "config.json").read_text())
    assert config["max_position_embeddings"] == TINY_POSITIONS + 2
    assert _resolve(root).max_tokens == TINY_POSITIONS


@pytest.mark.parametrize(
    ("settings", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "Q: ", "document": "D: "}}, "Q: ", "D: "),
        ({"prompts": {"query": "Q: ", "passage": "P: "}}, "Q: ", "P: "),
        ({"prompts": {"query": "Q: "}}, "Q: ", ""),
        ({"prompts": {"x": "X: "}, "default_prompt_name": "x"}, "X: ", "X: "),
        ({"prompts": {"query": None}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts_fill_prefixes_that_the_spec_leaves_empty(
    bert: Path, settings: dict[str, object], query: str, document: str
) -> None:
    _write(bert / "config_sentence_transformers.json", settings)
    recipe = _resolve(bert)
    assert (recipe.query_prefix, recipe.document_prefix) == (query, document)
    assert _resolve(bert, query_prefix="own: ").query_prefix == "own: "
    assert _resolve(bert, query_prefix="").query_prefix == "", "an empty prefix is a choice too"


def test_a_dense_step_sets_the_dimensions(bert: Path) -> None:
    _add_dense(bert, 8)
    assert _resolve(bert).dimensions == 8
    with pytest.raises(UnsupportedModelError, match="dimensions is 9, but the model's vectors have 8"):
        _resolve(bert, dimensions=9)


def test_steps_that_are_not_known_are_named(bert: Path) -> None:
    _write(
        bert / "modules.json", [*json.loads((bert / "modules.json").read_text()), {"type": "sentence_transformers.models.LSTM"}]
    )
    with pytest.raises(UnsupportedModelError, match="LSTM"):
        _resolve(bert)


def test_a_module_of_the_authors_own_code_is_refused(bert: Path) -> None:
    modules = json.loads((bert / "modules.json").read_text())
    _write(bert / "modules.json", [{**modules[0], "type": "custom_st.Transformer"}, *modules[1:]])
    with pytest.raises(UnsupportedModelError, match=r"custom_st.Transformer.*no code"):
        _resolve(bert)


def test_a_module_can_not_lead_out_of_the_model(bert: Path) -> None:
    modules = json.loads((bert / "modules.json").read_text())
    _write(bert / "modules.json", [modules[0], {**modules[1], "path": "../../etc"}])
    with pytest.raises(UnsupportedModelError, match="outside of the model"):
        _resolve(bert)


def test_a_reranker_needs_the_task_rerank_and_an_encoder_the_task_embed(bert: Path, tmp_path: Path) -> None:
    reranker = tiny_model(tmp_path / "reranker", reranker=True)
    with pytest.raises(UnsupportedModelError, match=r"does not fit task Embed.*Set spec.model.task to Rerank"):
        _resolve(reranker)
    with pytest.raises(UnsupportedModelError, match=r"does not fit task Rerank.*Set spec.model.task to Embed"):
        _resolve(bert, task=Task.RERANK)
    with pytest.raises(UnsupportedModelError, match="no meaning for task Rerank"):
        _resolve(reranker, task=Task.RERANK, dimensions=8)


def _add_dense(root: Path, out: int) -> None:
    modules = json.loads((root / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    _write(root / "modules.json", modules)
    _write(root / "2_Dense" / "config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    random = np.random.default_rng(3)
    weight = random.normal(size=(out, TINY_HIDDEN)).astype(np.float32)
    save_file({"linear.weight": weight, "linear.bias": weight[:, 0].copy()}, root / "2_Dense" / "model.safetensors")
