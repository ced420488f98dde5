"""The tokenizer as `embed` loads it: the model's own, without truncation and padding, which the server does itself.

Everything else stays as published: normalizer, special tokens (`[CLS] … [SEP]`, `<s> … </s>`) and the template of pairs, so
`encode(text)` and, for a re-ranker, `encode(query, document)` give the ids and type ids that the model was trained with.
"""

from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer

from embedding_serving.contract.model import Task
from embedding_serving.prepared import PROBES

from .errors import UnsupportedModelError
from .jsonfile import read_object
from .layout import ModelFiles
from .reference import TokenIds
from .resolve import Recipe


def tokenizer_document(files: ModelFiles, recipe: Recipe) -> dict[str, Any]:
    """Content of the tokenizer.json that is served and hashed. Raises UnsupportedModelError where it can't be loaded."""
    document = read_object(files.tokenizer())
    document["truncation"] = None
    document["padding"] = None
    if recipe.lowercase:
        lowercase = {"type": "Lowercase"}
        own = document.get("normalizer")
        document["normalizer"] = {"type": "Sequence", "normalizers": [lowercase, own]} if own else lowercase
    tokenizer = load(document)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if recipe.encoder and largest >= recipe.encoder.vocabulary:
        raise UnsupportedModelError(
            f"tokenizer.json has token id {largest}, but the model embeds only {recipe.encoder.vocabulary} tokens: "
            "tokenizer and weights are not of one model"
        )
    return document


def load(document: dict[str, Any]) -> Tokenizer:
    """Raises UnsupportedModelError where the installed tokenizers library can't read the document."""
    try:
        return Tokenizer.from_buffer(orjson.dumps(document))
    except Exception as error:  # the library raises bare Exception
        raise UnsupportedModelError(
            f"tokenizer.json can't be loaded ({str(error)[:200]}): save it again with a current transformers and publish it"
        ) from None


def write(document: dict[str, Any], path: Path) -> None:
    path.write_bytes(orjson.dumps(document))


def probe_ids(document: dict[str, Any], recipe: Recipe) -> list[TokenIds]:
    """Token ids of the probes: without prefix, truncated to max_tokens; a re-ranker's are pairs with the first probe."""
    tokenizer = load(document)
    tokenizer.enable_truncation(recipe.max_tokens)
    if recipe.task is Task.RERANK:
        encoded = [tokenizer.encode(PROBES[0], probe) for probe in PROBES]
    else:
        encoded = [tokenizer.encode(probe) for probe in PROBES]
    if not all(text.ids for text in encoded):
        raise UnsupportedModelError(
            "tokenizer.json turns a plain sentence into no token at all: it is not this model's tokenizer"
        )
    return [(text.ids, text.type_ids) for text in encoded]
