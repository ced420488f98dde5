"""Objects that stand around pods of every role: account, Services, disruption budget, autoscaler, policy."""

from collections.abc import Mapping

from embedding_serving.contract.settings import ADMIN_PORT

from ..api.autoscaling import Autoscaling, MetricTarget, MetricType
from ..resources import Manifest, Resource
from .installation import Installation

DNS_EGRESS: Manifest = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
ANY_TCP_EGRESS: Manifest = {"ports": [{"protocol": "TCP"}]}
NAMED_BY_USER = frozenset({MetricType.PODS, MetricType.EXTERNAL})


def service_account(metadata: Manifest) -> Manifest:
    """An identity without rights, and without a token in the pods."""
    return {"metadata": metadata, "automountServiceAccountToken": False}


def service(metadata: Manifest, selector: dict[str, str], **ports: int) -> Manifest:
    """A Service on these ports, by name, and on `admin`."""
    return {"metadata": metadata, "spec": {"selector": selector, "ports": _ports(ports)}}


def headless_service(metadata: Manifest, selector: dict[str, str], **ports: int) -> Manifest:
    """One A record a pod, for clients that spread requests themselves."""
    return {"metadata": metadata, "spec": {"clusterIP": "None", "selector": selector, "ports": _ports(ports)}}


def disruption_budget(metadata: Manifest, selector: dict[str, str]) -> Manifest:
    """A drained node takes one pod at a time."""
    return {"metadata": metadata, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}}}


def autoscaler(metadata: Manifest, wanted: Autoscaling, target: Resource, metric_names: Mapping[MetricType, str]) -> Manifest:
    """An HPA of the object that bears its name. Raises KeyError for a metric that the pods don't measure."""
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": target.api_version, "kind": target.kind, "name": metadata["name"]},
        "minReplicas": wanted.min_replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [_metric(metric, metric_names) for metric in wanted.metrics],
    }
    if wanted.behavior:
        spec["behavior"] = wanted.behavior.manifest()
    return {"metadata": metadata, "spec": spec}


def measured(metric: MetricType, metric_names: Mapping[MetricType, str]) -> bool:
    """Whether an autoscaler of pods that measure these can follow it."""
    return metric in metric_names or metric is MetricType.CPU_UTILIZATION or metric in NAMED_BY_USER


def unmeasured(metric: MetricType) -> str:
    """What to tell where it can't."""
    return f"spec.autoscaling.metrics: these pods do not measure {metric}: use CPUUtilization, or Pods with a metric of yours"


def network_policy(metadata: Manifest, selector: dict[str, str], ingress: list[Manifest], egress: list[Manifest]) -> Manifest:
    return {
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def admin_ingress(at: Installation) -> Manifest:
    """Metrics and health for the namespace, the admin API for the operator."""
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": at.operator_namespace}}}
    return {"from": [{"podSelector": {}}, operator], "ports": [tcp(ADMIN_PORT)]}


def tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}


def _ports(numbers: dict[str, int]) -> list[Manifest]:
    named = numbers | {"admin": ADMIN_PORT}
    return [{"name": name, "port": number, "targetPort": name, "protocol": "TCP"} for name, number in named.items()]


def _metric(wanted: MetricTarget, metric_names: Mapping[MetricType, str]) -> Manifest:
    if wanted.type is MetricType.CPU_UTILIZATION:
        target = {"type": "Utilization", "averageUtilization": int(wanted.target)}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    identity: Manifest = {"name": wanted.name or metric_names[wanted.type]}
    if wanted.match_labels:
        identity["selector"] = {"matchLabels": dict(wanted.match_labels)}
    target = {"type": "AverageValue", "averageValue": wanted.target}
    kind = "External" if wanted.type is MetricType.EXTERNAL else "Pods"
    return {"type": kind, kind.lower(): {"metric": identity, "target": target}}
