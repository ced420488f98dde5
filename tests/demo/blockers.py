"""What stands in the way, as kubectl tells it."""

from __future__ import annotations

import json
from typing import Any

from cluster import Cluster

_LINES = 40


def describe(cluster: Cluster, namespace: str, selector: str, otherwise: str) -> str:
    """State and events of the first pod that is not ready, with its last words; else of the object `otherwise` (kind/name)."""
    command = ["get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=json"]
    pods = json.loads(cluster.kubectl(*command))["items"]
    blocked = next((pod["metadata"]["name"] for pod in pods if not _ready(pod)), None)
    if blocked is None:
        return _described(cluster, namespace, otherwise, "Status:")
    shown = _described(cluster, namespace, f"pod/{blocked}", "Events:")
    words = ["logs", f"pod/{blocked}", "--all-containers", "--tail=8"]
    said = cluster.kubectl(*words, f"--namespace={namespace}", check=False).rstrip()
    return f"{shown}\n$ kubectl -n {namespace} {' '.join(words)}\n{said}" if said else shown


def _described(cluster: Cluster, namespace: str, target: str, start: str) -> str:
    """`kubectl describe` from the line that is `start`."""
    text = cluster.kubectl("describe", target, f"--namespace={namespace}", check=False).rstrip()
    _, found, rest = text.rpartition(f"\n{start}")
    tail = f"{start}{rest}" if found else text
    return "\n".join([f"$ kubectl -n {namespace} describe {target}", "…", *tail.splitlines()[-_LINES:]])


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
