"""Where this process is in its life, for probes and for requests that come too early."""

from dataclasses import dataclass, field
from enum import StrEnum

from ..contract.reports import ModelInfo
from .metrics import Metrics
from .service import EmbeddingService


class Phase(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class Lifecycle:
    """Changed by the main task only. `service` and `info` are there from SERVING on."""

    metrics: Metrics = field(default_factory=Metrics)
    phase: Phase = Phase.STARTING
    service: EmbeddingService | None = None
    info: ModelInfo | None = None

    def serve(self, service: EmbeddingService, info: ModelInfo) -> None:
        self.service, self.info, self.phase = service, info, Phase.SERVING

    def drain(self) -> None:
        self.phase = Phase.DRAINING
