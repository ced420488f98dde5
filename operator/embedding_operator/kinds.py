"""The kinds that the loop looks at: how each is observed and planned."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .observe import embedding_model as observe_embedding_model
from .observe import search_service as observe_search_service
from .observe import vector_index as observe_vector_index
from .observe.eyes import Eyes
from .plan import embedding_model as plan_embedding_model
from .plan import search_service as plan_search_service
from .plan import vector_index as plan_vector_index
from .plan.model import Plan
from .plan.snapshot import Look
from .resources import EMBEDDING_MODEL, SEARCH_SERVICE, VECTOR_INDEX, Resource

S = TypeVar("S", bound=Look)


@dataclass(frozen=True)
class Kind(Generic[S]):
    resource: Resource
    observe: Callable[[Eyes, str, str], Awaitable[S | None]]
    """The world around the object of a namespace and name; None where it is gone. Raises KubeError, ValidationError."""
    plan: Callable[[S], Plan]


_ALL: tuple[Kind[Any], ...] = (
    Kind(EMBEDDING_MODEL, observe_embedding_model.observe, plan_embedding_model.plan),
    Kind(VECTOR_INDEX, observe_vector_index.observe, plan_vector_index.plan),
    Kind(SEARCH_SERVICE, observe_search_service.observe, plan_search_service.plan),
)
KINDS: dict[str, Kind[Any]] = {kind.resource.kind: kind for kind in _ALL}
