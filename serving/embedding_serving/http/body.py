"""Members of a JSON body, each checked where it is read. Every error names the field and what it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .problems import ApiError, invalid


def parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "the body is not a JSON object")
    return value


def read_flag(body: dict[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(name, f"{name} is {kind(value)}: it takes true or false")
    return value


def read_choice(body: Mapping[str, Any], name: str, choices: Sequence[str], at: str = "") -> str:
    """The first choice where the member is absent."""
    value = body.get(name)
    if value is None:
        return choices[0]
    if value not in choices:
        field = f"{at}.{name}" if at else name
        raise invalid(field, f"{field} is {shown(value)}: it takes {' or '.join(choices)}")
    return str(value)


def kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "a boolean"
    return {str: "a text", list: "a list", dict: "an object", int: "a number", float: "a number"}[type(value)]


def shown(value: Any) -> str:
    return orjson.dumps(value).decode()[:80]
