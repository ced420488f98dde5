"""The fingerprint of a vector space: equal for equal content, wherever it came from and however it was packed.

Weights enter by the content of each tensor (name, dtype, shape, bytes), not by file: the same weights in one file or in
shards, with or without metadata, are one vector space. config.json enters without the keys that do not take part in the
computation; an unknown key counts, because a needless rebuild is better than two spaces under one name. Nothing enters
that depends on the version of this software or of a library, since a change would rebuild every index.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from embedding_serving.contract.model import Precision

from .resolve import Recipe
from .tensors import Tensors

_IDLE_KEYS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "_num_labels",
        "architectures",
        "attention_probs_dropout_prob",
        "attention_dropout",
        "classifier_dropout",
        "dropout",
        "dtype",
        "finetuning_task",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "id2label",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "problem_type",
        "qa_dropout",
        "return_dict",
        "sentence_transformers",
        "seq_classif_dropout",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "use_cache",
    }
)


def fingerprint(
    recipe: Recipe, config: Mapping[str, Any], tokenizer: Mapping[str, Any], tensors: Tensors, precision: Precision
) -> str:
    """64 hex digits. Reads every weight once. Raises UnsupportedModelError where one is not finite."""
    identity = {
        "format": 1,
        "architecture": recipe.architecture,
        "config": {key: value for key, value in config.items() if key not in _IDLE_KEYS},
        "weights": tensors.digests(),
        "projections": [[p.activation, p.tensors.digests()] for p in recipe.projections],
        "tokenizer": canonical_hash(tokenizer),
        "task": recipe.task,
        "pooling": recipe.pooling,
        "normalize": recipe.normalize,
        "query_prefix": recipe.query_prefix,
        "document_prefix": recipe.document_prefix,
        "max_tokens": recipe.max_tokens,
        "dimensions": recipe.dimensions,
        "precision": precision,
    }
    return canonical_hash(identity)


def canonical_hash(value: Any) -> str:
    """SHA-256 of the JSON text with sorted keys and no white space."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
