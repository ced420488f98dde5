"""The world as one reconcile sees it, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from embedding_serving.contract.reports import ModelInfo

from ..api.embeddingmodel import EmbeddingModel
from ..build.installation import Installation
from ..resources import Manifest, Resource
from .model import Children


@dataclass(frozen=True)
class ModelSnapshot:
    """An EmbeddingModel, everything that was made for it, and what its pods say."""

    model: EmbeddingModel
    status: Manifest
    """The live status as the API server has it."""
    children: Children
    pods: tuple[Manifest, ...]
    users: tuple["RevisionUser", ...]
    at: Installation
    now: datetime
    infos: Mapping[str, ModelInfo] = field(default_factory=dict)
    """Answers of /v1/info, by pod UID."""
    strangers: frozenset[tuple[Resource, str]] = frozenset()
    """Objects of a child's name that are not ours."""
    settled: frozenset[tuple[str, str, str]] = frozenset()
    """(uid, resourceVersion, intent hash) of objects that an apply left as they were: the server says it is so."""
    ask_again_seconds: float | None = None
    """When a ready pod that did not say what it serves will be asked again."""
    failures: tuple[str, ...] = ()
    """Writes that the API server refused in this look."""


@dataclass(frozen=True)
class RevisionUser:
    """Something that reads from revisions of the model; `revisions` is None while it has not said which."""

    name: str
    revisions: frozenset[str] | None

    def uses(self, revision: str, *, ever_prepared: bool) -> bool:
        """Nothing can read from a revision that never had vectors."""
        return ever_prepared if self.revisions is None else revision in self.revisions
