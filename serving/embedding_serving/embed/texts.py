"""The role of a text: a query or a document, and the prefix that its model was trained to see in front of it."""

from enum import StrEnum

from ..prepared import PreparedModel


class InputType(StrEnum):
    """NONE puts nothing in front, for texts that carry their prefix already."""

    QUERY = "query"
    DOCUMENT = "document"
    NONE = "none"


DEFAULT_INPUT_TYPE = InputType.DOCUMENT
"""A text whose role is not given: all endpoints agree, so one text has one vector whichever way it came."""

_ALIASES = {
    "query": InputType.QUERY,
    "search_query": InputType.QUERY,
    "document": InputType.DOCUMENT,
    "passage": InputType.DOCUMENT,
    "search_document": InputType.DOCUMENT,
    "none": InputType.NONE,
}
ACCEPTED_INPUT_TYPES = tuple(_ALIASES)


def parse_input_type(name: str) -> InputType:
    """Raises ValueError, naming what is accepted."""
    found = _ALIASES.get(name.lower())
    if found is None:
        raise ValueError(f"{name!r} is not one of {', '.join(ACCEPTED_INPUT_TYPES)}")
    return found


def prefix_of(model: PreparedModel, input_type: InputType) -> str:
    if input_type is InputType.QUERY:
        return model.query_prefix
    return model.document_prefix if input_type is InputType.DOCUMENT else ""
