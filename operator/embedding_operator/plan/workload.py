"""How far a Deployment and its autoscaler have come."""

from ..resources import HPA, Manifest
from ..status import Condition
from .model import Children


def wanted(deployment: Manifest | None) -> int:
    """Pods that it is scaled to."""
    return int(deployment["spec"].get("replicas", 1)) if deployment else 0


def count(deployment: Manifest | None, field: str) -> int:
    return int(deployment.get("status", {}).get(field, 0)) if deployment else 0


def rolled_out(deployment: Manifest | None) -> bool:
    """Every pod is of the latest template, is available, and no other is left."""
    if deployment is None:
        return False
    seen = count(deployment, "observedGeneration")
    counts = {count(deployment, field) for field in ("replicas", "updatedReplicas", "availableReplicas")}
    return bool(seen >= deployment["metadata"]["generation"] and counts == {wanted(deployment)})


def scaling_active(children: Children, child: str) -> Condition | None:
    """What the autoscaler of a child says of itself, once it has looked."""
    autoscaler = children.get(HPA, child)
    for condition in autoscaler.get("status", {}).get("conditions", []) if autoscaler else []:
        if condition["type"] == "ScalingActive":
            if condition["status"] == "True":
                return Condition("ScalingActive", "True", "ScalingActive", f"HorizontalPodAutoscaler {child} scales")
            remedy = (
                "install metrics-server for CPUUtilization, or an adapter that serves the metric; replicas stay as they are"
            )
            text = f"HorizontalPodAutoscaler {child}: {condition.get('message', '')}: {remedy}"
            return Condition("ScalingActive", "False", "MetricsUnavailable", text)
    return None
