"""`POST /v1/embeddings` as the official OpenAI clients speak it.

Beyond theirs: `input_type` (query or document), `truncate`, and raw float32 for `Accept: application/octet-stream`.
Members that mean nothing here (`user`) are ignored, as there.
"""

from base64 import b64encode
from typing import Any

from ...contract.model import Task
from ...contract.reports import ModelInfo
from ...http.body import read_choice
from ...http.problems import ApiError, invalid
from ..service import EmbedRequest, Encoded
from .call import Answer, Call, HotRoute, json_answer, octets_answer
from .fields import check_dimensions, read_input_type, read_inputs, read_priority, read_truncation
from .problems import Dialect


async def embeddings(call: Call) -> Answer:
    inputs = read_inputs(call.body, "input", call.limits)
    check_model(call.body, call.info)
    check_dimensions(call.body, call.info.dimensions)
    encoding = read_choice(call.body, "encoding_format", ("float", "base64"))
    encoded = await call.service.embed(
        EmbedRequest(
            client=call.client,
            texts=inputs.texts,
            token_ids=inputs.token_ids,
            input_type=read_input_type(call.body, "input_type"),
            truncation=read_truncation(call.body),
            priority=read_priority(call.headers, len(inputs)),
        )
    )
    if call.wants_octets():
        return octets_answer(encoded, call.info)
    return json_answer(_embedding_list(encoded, encoding, call.info.model))


def check_model(body: dict[str, Any], info: ModelInfo) -> None:
    """`model` may be left out, or be this model's name, revision or fingerprint in any case.

    Another name is refused: the vectors of this model would silently stand for those of the one that was asked for.
    """
    name = body.get("model")
    if name is None or name == "":
        return
    if not isinstance(name, str):
        raise invalid("model", f"model takes a name: this server has {info.model!r}")
    if name.lower() not in (info.model.lower(), info.revision, info.fingerprint):
        detail = f"the model {name[:100]!r} is not served here: this server has {info.model!r} (revision {info.revision})"
        raise ApiError(404, "model_not_found", detail, field="model")


def _embedding_list(encoded: Encoded, encoding: str, model: str) -> dict[str, Any]:
    rows: list[Any] = list(encoded.vectors)
    if encoding == "base64":
        rows = [b64encode(row).decode() for row in rows]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": model,
        "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
    }


ROUTES = (HotRoute("/v1/embeddings", Task.EMBED, Dialect.OPENAI, "input", embeddings),)
