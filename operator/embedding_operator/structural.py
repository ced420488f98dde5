"""JSON schema of a pydantic model to the structural schema that a CRD may hold.

A structural schema knows no references, no unions, no null and no `const`; whatever it can't say is refused here, so
that a model never promises what the API server does not hold.
"""

from typing import Any

from .api.cel import VALIDATIONS
from .api.resource import Part

Schema = dict[str, Any]

DROPPED = frozenset({"title", "default", "$defs"})
KEPT = frozenset(
    {
        "description",
        "enum",
        "format",
        "maxItems",
        "maximum",
        "maxLength",
        "maxProperties",
        "minItems",
        "minimum",
        "minLength",
        "minProperties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
    }
)


class NotStructuralError(TypeError):
    """A model uses a type that a CRD can't express."""


def structural(model: type[Part], path: str) -> Schema:
    """Schema of `model` standing at `path` of a resource. Raises NotStructuralError where there is none."""
    schema = model.model_json_schema(by_alias=True)
    return _Converter(schema.get("$defs", {})).convert(schema, path)


class _Converter:
    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def convert(self, node: Schema, path: str) -> Schema:
        """`node` as a structural schema; messages of its rules start with `path`."""
        node = self._resolve(node, path)
        out: Schema = {}
        for key, value in node.items():
            out |= self._member(key, value, path)
        if out.get("type") == "number":
            raise NotStructuralError(f"{path}: a fraction is not the same to every reader; use an integer or a quantity")
        if "description" in out:
            out["description"] = _described(out["description"], node.get("default"))
        return out

    def _member(self, key: str, value: Any, path: str) -> Schema:
        match key:
            case "const":
                return {"enum": [value]}
            case "properties":
                return {key: {name: self.convert(child, f"{path}.{name}") for name, child in value.items()}}
            case "items":
                return {key: self.convert(value, f"{path}[]")}
            case "additionalProperties" if value is True:
                return {"x-kubernetes-preserve-unknown-fields": True}
            case "additionalProperties":
                return {key: self.convert(value, f"{path}.<key>")}
            case "x-kubernetes-validations":
                return {key: [_validation(rule, path) for rule in value]}
            case _ if key in KEPT:
                return {key: list(value) if isinstance(value, tuple) else value}
            case _ if key in DROPPED:
                return {}
        raise NotStructuralError(f"{path}: {key} has no place in a structural schema")

    def _resolve(self, node: Schema, path: str) -> Schema:
        """`node` with its reference and its optional branch folded in; what stands beside them wins."""
        while "$ref" in node or "anyOf" in node:
            outer = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
            inner = self._inner(node, path)
            rules = [*inner.get(VALIDATIONS, []), *outer.get(VALIDATIONS, [])]
            node = {**inner, **outer} | ({VALIDATIONS: rules} if rules else {})
        return node

    def _inner(self, node: Schema, path: str) -> Schema:
        if "$ref" in node:
            return self._definitions[node["$ref"].removeprefix("#/$defs/")]
        branches: list[Schema] = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
        if len(branches) != 1:
            raise NotStructuralError(f"{path}: a union is not structural; use a OneOf of optional members")
        return branches[0]


def _validation(rule: dict[str, str], path: str) -> Schema:
    where = f"{path}.{rule['member']}" if rule["member"] else path
    out = {"rule": rule["rule"], "message": f"{where}: {rule['message']}"}
    if rule["member"]:
        out["fieldPath"] = f".{rule['member']}"
    return out


def _described(text: str, default: Any) -> str:
    """One line, with the meaning of absence where that is a plain value."""
    line = " ".join(text.split())
    if default is None or default == "" or isinstance(default, list | dict):
        return line
    return f"{line} Default: {str(default).lower() if isinstance(default, bool) else default}."
