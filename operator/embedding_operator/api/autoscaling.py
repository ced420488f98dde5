"""Horizontal scaling, the same for all kinds."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .cel import Rule
from .quantity import PositiveQuantity, Quantity
from .resource import Part
from .shared import Labels

ScaledReplicas = Annotated[int, Field(ge=1, le=1000)]


class MetricType(StrEnum):
    CPU_UTILIZATION = "CPUUtilization"
    QUEUED_TOKENS = "QueuedTokens"
    IN_FLIGHT_REQUESTS = "InFlightRequests"
    REQUESTS_PER_SECOND = "RequestsPerSecond"
    LATENCY_P99_MILLISECONDS = "LatencyP99Milliseconds"
    PODS = "Pods"
    EXTERNAL = "External"


class MetricTarget(Part):
    """A measure, and the value that scaling keeps it near."""

    rules: ClassVar = (
        Rule(
            "has(self.name) || !(self.type in ['Pods', 'External'])",
            "is required for type Pods or External: set the name of your metric",
            member="name",
        ),
        Rule(
            "!has(self.name) || self.type in ['Pods', 'External']",
            "belongs to type Pods or External: remove it",
            member="name",
        ),
        Rule(
            "!has(self.matchLabels) || self.type in ['Pods', 'External']",
            "belongs to type Pods or External: remove it",
            member="matchLabels",
        ),
        Rule(
            "self.type != 'CPUUtilization' || string(self.target).matches('^[1-9][0-9]{0,3}$')",
            "must be a whole percentage of the requested CPU for CPUUtilization, such as 70",
            member="target",
        ),
    )

    type: MetricType
    """CPUUtilization needs metrics-server; the others need an adapter that serves metrics to the autoscaler. Pods is a
    metric of your own per pod, External one from outside the cluster."""
    target: PositiveQuantity
    """Average per pod to aim at: percent of the requested CPU, tokens, requests, milliseconds, or the metric's unit."""
    name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Name of a metric of type Pods or External."""
    match_labels: Labels | None = None
    """Labels of a metric of type Pods or External."""


class ScalingPolicy(Part):
    """The most that may change within a period."""

    type: Literal["Pods", "Percent"]
    """What value counts."""
    value: Annotated[int, Field(ge=1, le=10_000)]
    """The most pods, or percent of the pods, to add or remove in the period."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """Length of the period."""


class ScalingRules(Part):
    """How fast to scale in one direction, as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """How far back to look for the least change; absent = 300 down, 0 up."""
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    """Which policy wins; absent = Max."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(max_length=8)] = ()
    """Limits of a change; absent = Kubernetes' own."""
    tolerance: Quantity | None = None
    """Difference to the target that is not acted upon, such as 100m for a tenth; needs a cluster that supports it."""


class ScalingBehavior(Part):
    """How fast to scale, as in a HorizontalPodAutoscaler."""

    scale_up: ScalingRules | None = None
    """Adding pods."""
    scale_down: ScalingRules | None = None
    """Removing pods."""


class Autoscaling(Part):
    """Lets a HorizontalPodAutoscaler set the number of pods. While it is given, spec.replicas is ignored."""

    rules: ClassVar = (
        Rule(
            "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
            "must be at most maxReplicas: lower it or raise maxReplicas",
            member="minReplicas",
        ),
    )

    min_replicas: ScaledReplicas = 1
    """The fewest pods."""
    max_replicas: ScaledReplicas
    """The most pods."""
    metrics: Annotated[tuple[MetricTarget, ...], Field(min_length=1, max_length=8)] = (
        MetricTarget(type=MetricType.CPU_UTILIZATION, target="80"),
    )
    """What to scale on; the measure that asks for most pods wins. Absent = CPUUtilization 80."""
    behavior: ScalingBehavior | None = None
    """How fast to scale; absent = Kubernetes' own."""
