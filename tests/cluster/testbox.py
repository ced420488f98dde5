"""A pod to look at the cluster from inside: the program of go/testbox, its manifests, and a room to put them in."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import binaries
from cluster.images import archive_program
from cluster.interface import Cluster

IMAGE = "localhost/local-cluster/testbox:1"
PORT = 8080
_UID = 65534  # nobody


def load(cluster: Cluster) -> None:
    """Have the image on the node."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "testbox.tar"
        archive_program(binaries.program("testbox"), IMAGE, archive)
        cluster.load_image(archive)


def pod(name: str, *, claim: str | None = None, gpus: int = 0) -> dict[str, Any]:
    """One testbox; with a claim its files are kept there."""
    volume = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    container = {
        "name": "box",
        "image": IMAGE,
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "data", **volume}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": _UID, "fsGroup": _UID},
        "terminationGracePeriodSeconds": 0,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def deployment(name: str, *, claim: str) -> dict[str, Any]:
    template = pod(name, claim=claim)
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }


def service(name: str) -> dict[str, Any]:
    """For the pods of that name."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def claim(name: str, *, volume: str | None = None) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    if volume:
        spec["volumeName"] = volume
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True)
class Room:
    """A namespace of a cluster."""

    cluster: Cluster
    namespace: str

    def apply(self, *documents: dict[str, Any]) -> None:
        wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.kubectl("apply", "-f", "-", input=wanted)

    def wait(self, target: str, condition: str = "Ready") -> None:
        self.kubectl("wait", target, f"--for=condition={condition}", "--timeout=60s")

    def field(self, target: str, path: str) -> str:
        return self.kubectl("get", target, f"--output=jsonpath={{{path}}}")

    def pod_address(self, name: str) -> str:
        return f"{self.field(f'pod/{name}', '.status.podIP')}:{PORT}"

    def kubectl(self, *args: str, input: str | None = None) -> str:  # noqa: A002
        return self.cluster.kubectl("--namespace", self.namespace, *args, input=input)


def http(address: str, path: str, body: bytes | None = None) -> str:
    """Straight to a pod or Service: a proxy that the machine may use for its downloads is no way there."""
    request = urllib.request.Request(f"http://{address}{path}", data=body, method="PUT" if body else "GET")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as response:
        return str(response.read().decode())
