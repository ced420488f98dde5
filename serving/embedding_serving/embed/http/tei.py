"""The endpoints of text-embeddings-inference, and the simple forms beside them.

POST /embed        {"inputs": …} -> [[…], …]                  TEI; `/` is the same, Hugging Face's client calls it
                   {"text": …} -> {"embedding": […], …}       simple
POST /embed/batch  {"texts": […]} -> {"embeddings": …, …}     simple
POST /similarity   {"inputs": {"source_sentence", "sentences"}} -> [cosine, …]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.model import Normalize, Task
from ...http.body import read_flag
from ...http.problems import invalid
from ..engines.engine import Vectors
from ..service import EmbedRequest, Encoded
from .call import Answer, Call, HotRoute, json_answer, octets_answer
from .fields import (
    Inputs,
    check_dimensions,
    read_input_type,
    read_inputs,
    read_priority,
    read_text,
    read_texts,
    read_truncation,
)
from .openai import check_model
from .problems import Dialect


async def embed(call: Call) -> Answer:
    if "text" in call.body and "inputs" not in call.body:
        text = read_text(call.body, "text", call.limits)
        return await _simple(call, Inputs(texts=[text], single=True))
    encoded = await _encoded(call, read_inputs(call.body, "inputs", call.limits))
    return octets_answer(encoded, call.info) if call.wants_octets() else json_answer(encoded.vectors)


async def embed_batch(call: Call) -> Answer:
    return await _simple(call, Inputs(texts=read_texts(call.body, "texts", call.limits)))


async def similarity(call: Call) -> Answer:
    inputs = call.body.get("inputs")
    if not isinstance(inputs, dict):
        raise invalid("inputs", "inputs takes an object with source_sentence and sentences")
    source = read_text(inputs, "source_sentence", call.limits)
    sentences = read_texts(inputs, "sentences", call.limits)
    encoded = await _encoded(call, Inputs(texts=[source, *sentences]))
    vectors = _unit(encoded.vectors)
    return json_answer(vectors[1:] @ vectors[0])


async def root(call: Call) -> Answer:
    """Hugging Face's client sends every task to the address it was given."""
    return await (similarity(call) if isinstance(call.body.get("inputs"), dict) else embed(call))


async def _simple(call: Call, inputs: Inputs) -> Answer:
    encoded = await _encoded(call, inputs)
    if call.wants_octets():
        return octets_answer(encoded, call.info)
    answer: dict[str, Any] = {
        "model": call.info.model,
        "fingerprint": call.info.fingerprint,
        "dimensions": call.info.dimensions,
        "tokens": encoded.tokens,
    }
    answer |= {"embedding": encoded.vectors[0]} if inputs.single else {"embeddings": encoded.vectors}
    return json_answer(answer)


async def _encoded(call: Call, inputs: Inputs) -> Encoded:
    body = call.body
    check_model(body, call.info)
    check_dimensions(body, call.info.dimensions)
    normalise = _normalise(call)
    encoded = await call.service.embed(
        EmbedRequest(
            client=call.client,
            texts=inputs.texts,
            token_ids=inputs.token_ids,
            input_type=read_input_type(body, "prompt_name", "input_type"),
            truncation=read_truncation(body),
            priority=read_priority(call.headers, len(inputs)),
        )
    )
    return Encoded(_unit(encoded.vectors), encoded.tokens) if normalise else encoded


def _normalise(call: Call) -> bool:
    """Whether vectors are to be brought to length 1 here. Absent: as the model is declared."""
    always = call.info.normalize is Normalize.ALWAYS
    wanted = read_flag(call.body, "normalize", default=always)
    if always and not wanted:
        raise invalid("normalize", "this model's vectors are normalised: leave it out, or set spec.model.normalize to Never")
    return wanted and not always


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths, lengths, 1)).astype(np.float32)


ROUTES: Sequence[HotRoute] = (
    HotRoute("/", Task.EMBED, Dialect.TEI, "inputs", root),
    HotRoute("/embed", Task.EMBED, Dialect.TEI, "inputs", embed),
    HotRoute("/embed/batch", Task.EMBED, Dialect.TEI, "texts", embed_batch),
    HotRoute("/similarity", Task.EMBED, Dialect.TEI, "inputs.sentences", similarity),
)
