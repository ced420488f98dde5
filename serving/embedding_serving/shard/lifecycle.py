"""Where this process is in its life, for probes, for the operator, and for those who come too early."""

from dataclasses import dataclass, field
from enum import StrEnum

from .. import __version__
from ..contract.admin import Mode, Refusal, Role, ShardInfo
from ..contract.settings import ShardSettings
from ..http.problems import ApiError
from .metrics import Metrics
from .service import ShardService, ordinal


class Phase(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    CORRUPT = "corrupt"


@dataclass(slots=True)
class Lifecycle:
    """Changed by the main task only. `service` is there while it serves; `message` says what is wrong."""

    settings: ShardSettings
    metrics: Metrics = field(default_factory=Metrics)
    phase: Phase = Phase.STARTING
    service: ShardService | None = None
    message: str | None = None

    @property
    def is_ready(self) -> bool:
        return self.phase is Phase.SERVING and self.service is not None and self.service.is_ready

    def status(self) -> str:
        if self.phase is Phase.SERVING and not self.is_ready:
            return "catching up" if self.service is not None and not self.service.is_damaged else Phase.CORRUPT
        return self.phase

    def serving(self) -> ShardService:
        """Raises ApiError where there is nothing that could obey."""
        if self.service is not None:
            return self.service
        if self.phase is Phase.CORRUPT:
            raise ApiError(409, Refusal.CORRUPT, self.message or "the database is damaged")
        raise ApiError(503, "starting", "the shard is being loaded. Try again in 1 s", retry_after_seconds=1)

    def info(self) -> ShardInfo:
        """Blocking: it looks at the volume."""
        if self.service is not None:
            return self.service.info().model_copy(update={"ready": self.is_ready})
        settings = self.settings
        return ShardInfo(
            pod=settings.pod,
            role=Role.WRITER if ordinal(settings.pod) == 0 else Role.FOLLOWER,
            generation=settings.generation,
            shard=settings.shard,
            shards=settings.shards,
            fingerprint=settings.fingerprint,
            dimensions=settings.dimensions,
            history="",
            epoch=0,
            mode=Mode.CLOSED,
            ready=False,
            position=0,
            digest="",
            documents=0,
            tombstones=0,
            bytes=0,
            free_bytes=0,
            fault=Refusal.CORRUPT if self.phase is Phase.CORRUPT else None,
            message=self.message,
            version=__version__,
        )
