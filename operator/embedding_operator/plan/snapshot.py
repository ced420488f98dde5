"""The world as one reconcile sees it, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from embedding_serving.contract.reports import ModelInfo

from ..api.embeddingmodel import EmbeddingModel
from ..api.resource import Metadata
from ..build import names
from ..build.installation import Installation
from ..resources import Manifest, Resource
from .model import Children


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at any object sees."""

    metadata: Metadata
    status: Manifest
    """The live status as the API server has it."""
    children: Children
    at: Installation
    now: datetime
    strangers: frozenset[tuple[Resource, str]] = frozenset()
    """Objects of a child's name that are not ours."""
    settled: frozenset[tuple[str, str, str]] = frozenset()
    """(uid, resourceVersion, intent hash) of objects that an apply left as they were: the server says it is so."""
    failures: tuple[str, ...] = ()
    """Writes and commands that were refused in this look."""

    @property
    def paused(self) -> bool:
        return self.metadata.annotations.get(names.PAUSED) == "true"


@dataclass(frozen=True, kw_only=True)
class ModelSnapshot(Look):
    """An EmbeddingModel, everything that was made for it, and what its pods say."""

    model: EmbeddingModel
    pods: tuple[Manifest, ...]
    users: tuple["RevisionUser", ...]
    infos: Mapping[str, ModelInfo] = field(default_factory=dict)
    """Answers of /v1/info, by pod UID."""
    ask_again_seconds: float | None = None
    """When a ready pod that did not say what it serves will be asked again."""


@dataclass(frozen=True)
class RevisionUser:
    """Something that reads from revisions of the model; `revisions` is None while it has not said which."""

    name: str
    revisions: frozenset[str] | None

    def uses(self, revision: str, *, ever_prepared: bool) -> bool:
        """Nothing can read from a revision that never had vectors."""
        return ever_prepared if self.revisions is None else revision in self.revisions
