"""Members of a JSON body, each checked where it is read. Every error names the field and what it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...contract.settings import EmbedSettings
from ...http.body import kind, read_flag, shown
from ...http.problems import ApiError, invalid
from ..scheduler import Priority
from ..texts import DEFAULT_INPUT_TYPE, InputType, parse_input_type
from ..tokens import Truncation

PRIORITY_HEADER = b"x-embedding-priority"
INTERACTIVE_TEXTS = 32
"""A request of more texts than this is bulk work, unless its header says otherwise."""


@dataclass(frozen=True, slots=True)
class TextLimits:
    max_texts: int
    max_text_bytes: int

    @classmethod
    def of(cls, settings: EmbedSettings) -> "TextLimits":
        return cls(settings.max_texts, settings.max_text_bytes)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts, or token ids; the other is empty. `single`: the client sent one text, not a list."""

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] = ()
    single: bool = False

    def __len__(self) -> int:
        return len(self.texts) or len(self.token_ids)


def read_inputs(body: dict[str, Any], name: str, limits: TextLimits) -> Inputs:
    """A string, a list of strings, the token ids of one text, or a list of those."""
    value = body.get(name)
    if isinstance(value, str):
        return Inputs(texts=_texts([value], name, limits, single=True), single=True)
    if not isinstance(value, list):
        raise invalid(name, f"{name} is {kind(value)}: it takes a text, a list of texts, or token ids")
    if not value:
        raise invalid(name, f"{name} is an empty list: it takes at least one text")
    if isinstance(value[0], str):
        return Inputs(texts=_texts(value, name, limits))
    if isinstance(value[0], list):
        return Inputs(token_ids=_token_ids(value, name, limits))
    return Inputs(token_ids=_token_ids([value], name, limits, single=True), single=True)


def read_texts(body: dict[str, Any], name: str, limits: TextLimits) -> Sequence[str]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise invalid(name, f"{name} is {kind(value)}: it takes a list of at least one text")
    return _texts(value, name, limits)


def read_text(body: dict[str, Any], name: str, limits: TextLimits) -> str:
    return _texts([body.get(name)], name, limits, single=True)[0]


def read_input_type(body: dict[str, Any], *names: str) -> InputType:
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise invalid(name, f"{name} is {kind(value)}: it takes query or document")
        try:
            return parse_input_type(value)
        except ValueError as error:
            raise invalid(name, f"{name}: {error}") from None
    return DEFAULT_INPUT_TYPE


def read_truncation(body: dict[str, Any]) -> Truncation:
    """`truncate` (true where it is absent) and TEI's `truncation_direction`."""
    if not read_flag(body, "truncate", default=True):
        return Truncation.REFUSE
    direction = body.get("truncation_direction")
    if direction is None:
        return Truncation.RIGHT
    if not isinstance(direction, str) or direction.lower() not in ("left", "right"):
        raise invalid("truncation_direction", "truncation_direction takes left or right")
    return Truncation(direction.lower())


def read_priority(headers: dict[bytes, bytes], texts: int) -> Priority:
    name = headers.get(PRIORITY_HEADER)
    if name is None:
        return Priority.INTERACTIVE if texts <= INTERACTIVE_TEXTS else Priority.BULK
    try:
        return Priority[name.decode("latin-1").upper()]
    except KeyError:
        raise invalid(None, "the header X-Embedding-Priority takes interactive or bulk") from None


def check_dimensions(body: dict[str, Any], dimensions: int) -> None:
    """A shorter vector is another vector space: it is chosen in the spec, for all clients, or not at all."""
    value = body.get("dimensions")
    if value is None or (value == dimensions and not isinstance(value, bool)):
        return
    raise invalid(
        "dimensions",
        f"dimensions is {shown(value)}, but this model's vectors have {dimensions}: leave it out, "
        "or set spec.model.dimensions of the EmbeddingModel",
    )


def _texts(values: Sequence[Any], name: str, limits: TextLimits, *, single: bool = False) -> Sequence[str]:
    _check_count(values, name, limits)
    for index, text in enumerate(values):
        if type(text) is str and text and 4 * len(text) <= limits.max_text_bytes:
            continue
        _check_text(text, name if single else f"{name}[{index}]", limits)
    return values


def _check_text(text: Any, field: str, limits: TextLimits) -> None:
    if not isinstance(text, str):
        raise invalid(field, f"{field} is {kind(text)}: it takes a text")
    if not text:
        raise ApiError(400, "empty_text", f"{field} is empty: an empty text has no meaning to encode", field=field)
    size = len(text.encode())
    if size > limits.max_text_bytes:
        detail = f"{field} has {size} bytes, a text may have {limits.max_text_bytes}: split it"
        raise ApiError(413, "text_too_long", detail, field=field)


def _token_ids(values: Sequence[Any], name: str, limits: TextLimits, *, single: bool = False) -> Sequence[Sequence[int]]:
    _check_count(values, name, limits)
    for index, ids in enumerate(values):
        field = name if single else f"{name}[{index}]"
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise invalid(field, f"{field} is not a list of token ids: a list holds texts only, or token ids only")
        if not ids:
            raise ApiError(400, "empty_text", f"{field} is empty: it takes at least one token id", field=field)
        if len(ids) > limits.max_text_bytes:
            detail = f"{field} has {len(ids)} token ids, a text may have {limits.max_text_bytes}: split it"
            raise ApiError(413, "text_too_long", detail, field=field)
    return values


def _check_count(values: Sequence[Any], name: str, limits: TextLimits) -> None:
    if len(values) > limits.max_texts:
        detail = f"{name} has {len(values)} texts, a request may have {limits.max_texts}: send several requests"
        raise ApiError(413, "too_many_texts", detail, field=name)
