"""Blocks that more than one kind uses: references, pods, resources, caches."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .cel import Rule, list_map
from .quantity import Amount
from .resource import Part
from .values import DataKey, ObjectName, OwnName, Seconds

_KEY_LENGTH = 317
_RESERVED = "^([-.a-z0-9]+[.])?(kubernetes[.]io|k8s[.]io|embedding-operator[.]io)/"
_RESERVED_ANNOTATION = f"key.matches('{_RESERVED}') && !key.startsWith('cluster-autoscaler.kubernetes.io/')"

LabelValue = Annotated[
    str,
    Field(max_length=63),
    Rule(
        "self.matches('^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$')",
        "must be letters, digits, dashes, dots or underscores that start and end with a letter or digit",
    ),
]

Labels = Annotated[dict[str, LabelValue], Field(max_length=32)]

PodLabels = Annotated[
    Labels,
    Rule(
        f"self.all(key, !key.matches('{_RESERVED}'))",
        "keys of kubernetes.io, k8s.io and embedding-operator.io are reserved: use a key of your own domain",
    ),
]

PodAnnotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32),
    Rule(
        f"self.all(key, !({_RESERVED_ANNOTATION}))",
        "keys of kubernetes.io (but cluster-autoscaler.kubernetes.io), k8s.io and embedding-operator.io are reserved: "
        "use a key of your own domain",
    ),
]


class ModelReference(Part):
    """An EmbeddingModel of the same namespace."""

    name: OwnName
    """Name of the EmbeddingModel."""


class IndexReference(Part):
    """A VectorIndex of the same namespace."""

    name: OwnName
    """Name of the VectorIndex."""


class SecretReference(Part):
    """A Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class RedisReference(Part):
    """A Secret of the same namespace that holds the URL of a Redis server, password included."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey = "url"
    """Key of the Secret whose value is the URL, such as redis://:password@redis:6379/0."""


class ClaimReference(Part):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""


class Cache(Part):
    """Answers that are kept for reuse. An outage of the cache makes answers slower, never wrong."""

    ttl_seconds: Seconds = 86_400
    """Life of an entry in seconds; 0 = no cache."""
    redis_secret_ref: RedisReference | None = None
    """A Redis server that all replicas share; absent = each pod keeps its own in memory."""


_CONTAINER_RESOURCE = "name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || name.contains('/')"

Amounts = Annotated[
    dict[str, Amount],
    Field(max_length=16),
    Rule(
        f"self.all(name, {_CONTAINER_RESOURCE})",
        "a container has cpu, memory, ephemeral-storage, hugepages-<size> and <domain>/<device> alone: use those names",
    ),
]


class Resources(Part):
    """CPU, memory and devices of the serving container, as in a pod."""

    rules: ClassVar = (
        Rule(
            "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || "
            "!isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])) || "
            "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "must be at most the limits: lower the request or raise the limit",
            member="requests",
        ),
        Rule(
            "!has(self.requests) || self.requests.all(name, !name.contains('/') || "
            "(has(self.limits) && name in self.limits && string(self.limits[name]) == string(self.requests[name])))",
            "of a device must equal its limit: set it in limits, and leave it out here",
            member="requests",
        ),
    )

    limits: Amounts = Field(default_factory=dict)
    """The most it may use; devices such as nvidia.com/gpu go here."""
    requests: Amounts = Field(default_factory=dict)
    """What the scheduler sets aside for it; absent = the limits."""


class Toleration(Part):
    """A taint that the pods accept."""

    rules: ClassVar = (
        Rule(
            "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
            "must be Exists for a toleration without a key: set that or name the key of the taint",
            member="operator",
        ),
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "is not compared by operator Exists: remove it, or use operator: Equal",
            member="value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "needs effect: NoExecute; set that or remove it",
            member="tolerationSeconds",
        ),
    )

    key: Annotated[str, Field(max_length=_KEY_LENGTH)] | None = None
    """Key of the taint; absent with operator Exists = any taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """How key and value are compared; absent = Equal."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; absent = any."""
    toleration_seconds: Seconds | None = None
    """How long a pod stays after a NoExecute taint appears; absent = for ever."""


Passthrough = dict[str, Any]
"""An object that goes into the pod unread; the API server checks it there."""


class Affinity(Part):
    """Where pods may or would rather run, as in a pod."""

    node_affinity: Passthrough | None = None
    """Rules about nodes, as in a pod's affinity.nodeAffinity."""
    pod_affinity: Passthrough | None = None
    """Pods to run close to, as in a pod's affinity.podAffinity."""
    pod_anti_affinity: Passthrough | None = None
    """Pods to stay away from, as in a pod's affinity.podAntiAffinity."""


class TopologySpread(Part):
    """How evenly pods spread over the values of a node label, as in a pod."""

    rules: ClassVar = (
        Rule(
            "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            "needs whenUnsatisfiable: DoNotSchedule; set that or remove it",
            member="minDomains",
        ),
    )

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """The most that the numbers of pods may differ."""
    topology_key: Annotated[str, Field(min_length=1, max_length=_KEY_LENGTH)]
    """Label of the nodes, such as topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What happens to a pod that would break the rule."""
    label_selector: Passthrough | None = None
    """Pods that count, as in a pod; absent = the pods of this resource."""
    match_label_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=_KEY_LENGTH)], ...], Field(max_length=16)
    ] = ()
    """Labels whose values must equal the new pod's for a pod to count."""
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The fewest values of the label to spread over."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes that fit nodeSelector and affinity count; absent = Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes whose taints are tolerated count; absent = Ignore."""


class PodOverrides(Part):
    """Scheduling and labelling of the pods. Containers, volumes and security settings belong to the operator."""

    labels: PodLabels = Field(default_factory=dict)
    """Further labels of the pods."""
    annotations: PodAnnotations = Field(default_factory=dict)
    """Further annotations of the pods."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that the pods accept."""
    affinity: Affinity | None = None
    """Where pods may or would rather run."""
    topology_spread_constraints: Annotated[tuple[TopologySpread, ...], Field(max_length=8)] = ()
    """How pods spread over zones or nodes."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, such as nvidia."""
    image_pull_secrets: Annotated[tuple[SecretReference, ...], Field(max_length=16), list_map("name")] = ()
    """Secrets of the same namespace to pull images with."""
