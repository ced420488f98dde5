"""What stands in the way, as kubectl tells it."""

from __future__ import annotations

import json
from typing import Any

from cluster import Cluster

_LINES = 30


def describe(cluster: Cluster, namespace: str, selector: str, otherwise: str) -> str:
    """The end of `kubectl describe` of the first pod that is not ready, else of the object `otherwise` (kind/name)."""
    listed = json.loads(cluster.kubectl("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=json"))
    blocked = next((pod["metadata"]["name"] for pod in listed["items"] if not _ready(pod)), None)
    target = f"pod/{blocked}" if blocked else otherwise
    text = cluster.kubectl("describe", target, f"--namespace={namespace}", check=False).rstrip()
    logs = (
        cluster.kubectl("logs", target, f"--namespace={namespace}", "--all-containers", "--tail=5", check=False)
        if blocked
        else ""
    )
    shown = "\n".join(text.splitlines()[-_LINES:])
    said = f"\n$ kubectl -n {namespace} logs {target} --all-containers --tail=5\n{logs.rstrip()}" if logs.strip() else ""
    return f"$ kubectl -n {namespace} describe {target}\n…\n{shown}{said}"


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
