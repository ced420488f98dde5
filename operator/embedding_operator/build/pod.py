"""What the pods of every role have in common. They pass Pod Security `restricted`, and hold no token."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from embedding_serving.contract.settings import ADMIN_PORT, TERMINATION_PATH, RoleSettings, env_name, to_env

from ..api.shared import PodOverrides, Resources
from ..resources import Manifest
from .installation import Installation

USER = 65532
DEFAULT_REQUESTS = {"cpu": "250m", "memory": "512Mi"}
SHUTDOWN_MARGIN_SECONDS = 5
TMP_MOUNT: Manifest = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the pod's own
TMP_VOLUME: Manifest = {"name": "tmp", "emptyDir": {}}

Role = TypeVar("Role", bound=RoleSettings)


def template(
    overrides: PodOverrides,
    labels: dict[str, str],
    selector: dict[str, str],
    service_account: str,
    grace_seconds: float,
    parts: Manifest,
) -> Manifest:
    """A pod template: `parts` are its containers and volumes; `selector` finds its like, to be spread over nodes."""
    metadata: Manifest = {"labels": overrides.labels | labels}
    if overrides.annotations:
        metadata["annotations"] = dict(overrides.annotations)
    spec: Manifest = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(grace_seconds) + SHUTDOWN_MARGIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"metadata": metadata, "spec": spec | parts | _scheduling(overrides, selector)}


def container(name: str, image: str, at: Installation, mounts: list[Manifest]) -> Manifest:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": at.image_pull_policy,
        "volumeMounts": mounts,
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def settings(role: type[Role], **values: Any) -> Role:
    """The settings of a pod from these values alone: what the environment of this process says is none of them."""
    made = role.__new__(role)
    BaseModel.__init__(made, **values)
    return made


def resources(wanted: Resources, *, with_devices: bool) -> Manifest:
    """Limits and requests; what neither names is requested by default. Devices go to the serving container alone."""
    limits = {key: value for key, value in wanted.limits.items() if with_devices or "/" not in key}
    asked = {key: value for key, value in wanted.requests.items() if with_devices or "/" not in key}
    requests = {key: value for key, value in DEFAULT_REQUESTS.items() if key not in limits} | asked
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def probe(path: str, period_seconds: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }


def ports(**numbers: int) -> list[Manifest]:
    """Ports of a container by name; every role has `admin`."""
    named = numbers | {"admin": ADMIN_PORT}
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in named.items()]


def env(values: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def settings_env(given: RoleSettings, from_the_pod: Mapping[str, str]) -> list[Manifest]:
    """Environment that makes a pod parse these settings, some of them from fields of the pod itself."""
    own = {env_name(setting): path for setting, path in from_the_pod.items()}
    values = {name: value for name, value in to_env(given).items() if name not in own}
    return [*env(values), *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in own.items())]


def secret_env(setting: str, name: str, key: str) -> Manifest:
    return {"name": env_name(setting), "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _scheduling(overrides: PodOverrides, selector: dict[str, str]) -> Manifest:
    labels = {"matchLabels": selector}
    spread = [{"labelSelector": labels} | constraint.manifest() for constraint in overrides.topology_spread_constraints]
    fields: Manifest = {
        "nodeSelector": dict(overrides.node_selector),
        "tolerations": [toleration.manifest() for toleration in overrides.tolerations],
        "affinity": overrides.affinity.manifest() if overrides.affinity else None,
        "topologySpreadConstraints": spread or [_over_nodes(labels)],
        "priorityClassName": overrides.priority_class_name,
        "runtimeClassName": overrides.runtime_class_name,
        "imagePullSecrets": [secret.manifest() for secret in overrides.image_pull_secrets],
    }
    return {key: value for key, value in fields.items() if value}


def _over_nodes(selector: Manifest) -> Manifest:
    """A node that dies should take few pods of one kind with it."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
