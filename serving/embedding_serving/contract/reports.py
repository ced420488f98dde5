"""What a pod says of itself: `/v1/info` while it lives, the termination message when an init step or a process ends."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from .model import EngineName, Normalize, Pooling, Precision, Task

INFO_PATH = "/v1/info"
HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"


class ModelInfo(BaseModel):
    """Answer of `GET /v1/info`: the identity of what serves here."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model: str
    revision: str
    fingerprint: str
    task: Task
    dimensions: int
    max_tokens: int
    pooling: Pooling
    normalize: Normalize
    precision: Precision
    engine: EngineName
    self_check_cosine: float
    workers: int
    max_batch_tokens: int
    version: str


class Outcome(StrEnum):
    """How a step ended. Anything but PREPARED and UNAVAILABLE is final until the spec or the source changes."""

    PREPARED = "Prepared"
    UNAVAILABLE = "Unavailable"
    SOURCE_NOT_FOUND = "SourceNotFound"
    HASH_MISMATCH = "HashMismatch"
    UNSAFE_WEIGHTS = "UnsafeWeights"
    UNSUPPORTED_MODEL = "UnsupportedModel"
    SELF_CHECK_FAILED = "SelfCheckFailed"
    FINGERPRINT_MISMATCH = "FingerprintMismatch"


class Report(BaseModel):
    """Termination message of `prepare` and `embed`, one JSON object of at most 4 KiB (the kubelet's limit)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcome: Outcome
    message: str
    fingerprint: str | None = None
    dimensions: int | None = None

    def dump(self) -> str:
        short = self.model_copy(update={"message": self.message[:2_000]})
        return short.model_dump_json(exclude_none=True)

    @classmethod
    def parse(cls, text: str | None) -> "Report | None":
        """The report in a termination message, or None where a process died without one."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return None
