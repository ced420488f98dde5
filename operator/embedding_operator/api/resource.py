"""What all three kinds are made of: parts, metadata, status and conditions."""

from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .cel import Rule, list_map, with_rules
from .values import Count, Message, Text, Timestamp

GROUP = "embedding-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

_EXCEPTIONS = {"open_ai": "openAI"}


def _wire_name(name: str) -> str:
    return _EXCEPTIONS.get(name) or to_camel(name)


class Part(BaseModel):
    """A piece of a resource. The default of a member is what its absence means; it is never written into a spec.

    Members that this version does not know are ignored when live objects are read: the CRDs may be newer.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=_wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules across members."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        schema.update(with_rules(schema, *cls.rules))
        return schema

    def manifest(self) -> dict[str, Any]:
        """This part as JSON-ready values with the API's names; what was not given is not there."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


class OneOf(Part):
    """Members of which exactly one is given: a union that a structural schema can express."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = cls.choices()
        given = ", ".join(f"has(self.{name})" for name in names)
        rule = Rule(f"[{given}].filter(given, given).size() == 1", f"needs exactly one of {', '.join(names)}")
        schema = super().__get_pydantic_json_schema__(core, handler)
        schema.update(with_rules(schema, rule))
        return schema

    @classmethod
    def choices(cls) -> list[str]:
        """Names of the members, as users write them."""
        return [str(field.alias) for field in cls.model_fields.values()]

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError(f"needs exactly one of {', '.join(self.choices())}")
        return self


class Metadata(Part):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(Part):
    """One aspect of a resource's state, as an answer to a yes-or-no question."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Name of the aspect: Ready, UpToDate, Reconciling, Stalled and others."""
    status: Annotated[str, Field(max_length=7, json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """The cause in one CamelCase word, for programs."""
    message: Message
    """The cause for people: the object that blocks, and the next step."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Count | None = None
    """The metadata.generation that this condition speaks of."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32), list_map("type")]


class Status(Part):
    """What the operator reports of every kind. Users do not write it."""

    observed_generation: Count | None = None
    """The metadata.generation that this status speaks of."""
    conditions: Conditions = ()
    """Ready (serves now), UpToDate (what serves is what the spec asks for), Reconciling and Stalled, and others."""
    progress: Text | None = None
    """The step under way, in a few words; absent when nothing moves."""


SpecT = TypeVar("SpecT", bound=Part)
StatusT = TypeVar("StatusT", bound=Status)


class Resource(Part, Generic[SpecT, StatusT]):
    """An object of one of the three kinds, as the API server stores it."""

    api_version: str = API_VERSION
    kind: str
    metadata: Metadata
    spec: SpecT
    status: StatusT
