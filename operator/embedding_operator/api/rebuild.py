"""How a VectorIndex builds a new generation, judges it and switches to it."""

from typing import Annotated, ClassVar

from pydantic import Field

from .cel import Rule
from .resource import Part
from .shared import PodOverrides, Resources
from .values import DataKey, ObjectName, Percent, Seconds

_CRON_FIELD = "[-*,/0-9A-Za-z]+"


class GoldenQueriesReference(Part):
    """A ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey = "queries.jsonl"
    """Key of the ConfigMap; each line of its value is a query with the ids that it should find."""


class GoldenQueries(Part):
    """Queries with known answers."""

    config_map_ref: GoldenQueriesReference
    """ConfigMap with the queries."""
    min_hit_percent: Percent = 95
    """Share of the queries that must find what they should."""


class PrePromotionAnalysis(Part):
    """The gate before a new generation serves. What is absent is not checked, but for the defaults named here."""

    min_recall_percent: Percent = 95
    """Share of the true nearest neighbours that the new index must find."""
    min_overlap_percent: Percent | None = None
    """Share of the active generation's results that the new one must return too; a better model reorders them."""
    max_latency_increase_percent: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """How much slower the new generation may answer."""
    sample_size: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Queries to try."""
    max_failed_documents: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Documents that may be missing because they could not be embedded."""
    golden_queries: GoldenQueries | None = None
    """Queries with known answers."""


class CanaryStep(Part):
    """A share of the reads that the new generation answers for a while."""

    weight_percent: Annotated[int, Field(ge=1, le=99)]
    """Share of the reads."""
    pause_seconds: Seconds | None = None
    """How long; absent = until a person promotes."""


class Encoders(Part):
    """Spare pods of the EmbeddingModel that work for the rebuild alone."""

    replicas: Annotated[int, Field(ge=1, le=1000)]
    """Number of pods."""
    pod: PodOverrides = PodOverrides()
    """Scheduling and labelling of these pods."""
    resources: Resources = Resources()
    """CPU, memory and devices of these pods."""


class Rebuild(Part):
    """How a new generation is built beside the active one, judged and switched to."""

    rules: ClassVar = (
        Rule(
            "!has(self.timeZone) || has(self.schedule)",
            "says when schedule is meant: set schedule or remove it",
            member="timeZone",
        ),
        Rule(
            "!has(self.autoPromotionSeconds) || (has(self.autoPromotionEnabled) && !self.autoPromotionEnabled)",
            "is how long to wait for a person: set autoPromotionEnabled to false or remove it",
            member="autoPromotionSeconds",
        ),
    )

    schedule: (
        Annotated[
            str,
            Field(min_length=1, max_length=128),
            Rule(
                f"self.matches('^(@(hourly|daily|weekly|monthly|yearly)|{_CRON_FIELD}( +{_CRON_FIELD}){{4}})$')",
                "must be a cron expression of five fields, such as 0 3 * * 0, or @weekly",
            ),
        ]
        | None
    ) = None
    """When to rebuild without a change, as a cron expression; absent = never."""
    time_zone: (
        Annotated[
            str,
            Field(min_length=1, max_length=64),
            Rule(
                "self.matches('^[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+)*$')",
                "must be a name of the time zone database, such as Europe/Berlin",
            ),
        ]
        | None
    ) = None
    """Time zone of schedule; absent = UTC."""
    auto_promotion_enabled: bool = True
    """Whether a generation that passes the gate is switched to without a person."""
    auto_promotion_seconds: Seconds | None = None
    """With autoPromotionEnabled false: switch after this long all the same; absent = wait for a person."""
    canary: Annotated[
        tuple[CanaryStep, ...],
        Field(max_length=16),
        Rule(
            "self.map(step, step.weightPercent).isSorted()",
            "must not send fewer reads in a later step: sort by weightPercent",
        ),
    ] = ()
    """Shares of the reads that the new generation answers, step by step, before the switch."""
    pre_promotion_analysis: PrePromotionAnalysis = PrePromotionAnalysis()
    max_search_latency_p99_milliseconds: Annotated[int, Field(ge=1, le=600_000)] | None = None
    """The rebuild slows down while searches are slower than this; absent = no brake."""
    max_parallel_shards: Annotated[int, Field(ge=1, le=256)] | None = None
    """Shards that are built at a time; absent = all."""
    encoders: Encoders | None = None
    """Spare pods of the model for the rebuild; absent = the pods that serve."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=604_800)] = 3_600
    """After this long without progress, status says Stalled."""
    fence_timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    """The longest that writes wait during the switch before it is called off."""
    rollback_window_seconds: Seconds = 86_400
    """How long the former generation is kept for going back; 0 = not at all."""
