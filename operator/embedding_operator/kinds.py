"""The kinds that the loop looks at: how each is observed and planned."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .observe import embedding_model as observe_embedding_model
from .observe.eyes import Eyes
from .plan import embedding_model as plan_embedding_model
from .plan.model import Plan
from .plan.snapshot import Look
from .resources import EMBEDDING_MODEL, Resource

S = TypeVar("S", bound=Look)


@dataclass(frozen=True)
class Kind(Generic[S]):
    resource: Resource
    observe: Callable[[Eyes, str, str], Awaitable[S | None]]
    """The world around the object of a namespace and name; None where it is gone. Raises KubeError, ValidationError."""
    plan: Callable[[S], Plan]


KINDS: dict[str, Kind[Any]] = {
    kind.resource.kind: kind for kind in (Kind(EMBEDDING_MODEL, observe_embedding_model.observe, plan_embedding_model.plan),)
}
