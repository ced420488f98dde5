"""Rules that the API server evaluates itself (CEL), written beside the type that they hold for."""

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """One validation, usable as an annotation of a type (`Annotated[str, Rule(…)]`) or in `Part.rules`.

    `message` says what to do; the converter puts the path of the field before it, because the server's own path is
    missing for rules at the root and stops at the object that the rule is written on. `member` completes that path
    (`minReplicas`) where the rule of an object is about one of its members.
    """

    rule: str
    message: str
    member: str = ""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules(handler(core), self)


@dataclass(frozen=True)
class Keys:
    """Further schema keys of a type, such as `x-kubernetes-list-type`."""

    items: tuple[tuple[str, Any], ...]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | dict(self.items)


def with_rules(schema: JsonSchemaValue, *rules: Rule) -> JsonSchemaValue:
    """`schema` with `rules` after those it has."""
    if not rules:
        return schema
    return {**schema, VALIDATIONS: [*schema.get(VALIDATIONS, []), *map(asdict, rules)]}


def list_map(*keys: str) -> Keys:
    """A list that server-side apply merges by the values of `keys`, which must be unique together."""
    return Keys((("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", keys)))


LIST_SET = Keys((("x-kubernetes-list-type", "set"),))
"""A list of scalars without duplicates, merged as a set."""
