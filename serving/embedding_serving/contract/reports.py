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
    tokens_per_second: int | None = None
    """Of full batches on all workers, measured when it started; of an older version not known."""
    version: str


MOST_REPORT_BYTES = 4_096
"""The kubelet cuts a termination message there."""
MOST_NAMED = 5
"""Queries or lines that a report names."""


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


class AnalysisReport(BaseModel):
    """Termination message of an `analyse` that measured what it was asked to; else it is a Report. Shares are from 0 to 1.

    What was not asked for, or could not be measured because there was no query, is absent. `queries`: made of sampled
    documents. `golden_faults`: lines of the golden queries that say nothing that can be measured, and why;
    `golden_missed`: lines whose documents were not all found.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    generation: int
    queries: int
    documents: int
    active_documents: int
    recall: float | None = None
    overlap: float | None = None
    latency_increase_percent: float | None = None
    golden_queries: int = 0
    golden_hit: float | None = None
    golden_faults: tuple[str, ...] = ()
    golden_missed: tuple[str, ...] = ()

    def dump(self) -> str:
        """At most MOST_REPORT_BYTES: what is named gets shorter where that is too little."""
        characters = 400
        while len((text := self._named_within(characters)).encode()) > MOST_REPORT_BYTES:
            characters //= 2
        return text

    def _named_within(self, characters: int) -> str:
        named = {
            "golden_faults": tuple(line[:characters] for line in self.golden_faults[:MOST_NAMED]),
            "golden_missed": tuple(line[:characters] for line in self.golden_missed[:MOST_NAMED]),
        }
        return self.model_copy(update=named).model_dump_json(exclude_none=True)

    @classmethod
    def parse(cls, text: str | None) -> "AnalysisReport | None":
        """The report in a termination message, or None where there is none."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return None
