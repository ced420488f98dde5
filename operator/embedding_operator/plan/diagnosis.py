"""Why a pod is not ready, in the words of the API: reads what the kubelet, the scheduler and the pod itself report."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embedding_serving.contract.reports import Outcome, Report

from ..build.embed_pod import COPY, EMBED, PREPARE
from ..resources import Manifest

INSUFFICIENT_GPU = "InsufficientGPU"
NO_ROOM = "InsufficientResources"
FINISHED = ("Failed", "Succeeded")
"""Phases of pods that are left over, such as evicted ones: another pod has taken their place."""
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
MISSING_OBJECT = re.compile(r'(secret|configmap|persistentvolumeclaim) "?([^"\s]+)"? not found', re.IGNORECASE)
MISSING_KEY = re.compile(r"find key (\S+) in Secret \S+?/([^\s/]+)$")
INSUFFICIENT = re.compile(r"Insufficient ([-./a-zA-Z0-9]+)")


@dataclass(frozen=True)
class Finding:
    """What keeps a pod from serving. `stalled` where no waiting helps: somebody must act."""

    reason: str
    message: str
    stalled: bool = True


def diagnose(pods: Iterable[Manifest], devices: Iterable[str]) -> Finding | None:
    """The finding worth telling: of the newest pods first, one that needs somebody to act before one that may pass."""
    present = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    living = [pod for pod in present if pod.get("status", {}).get("phase") not in FINISHED] or present
    newest_first = sorted(living, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    findings = [finding for pod in newest_first for finding in _findings(pod, frozenset(devices))]
    return next((finding for finding in findings if finding.stalled), findings[0] if findings else None)


def report_of(pod: Manifest) -> Report | None:
    """What `prepare` said at its end in this pod."""
    for container in pod.get("status", {}).get("initContainerStatuses", []):
        if container["name"] == PREPARE:
            for ended in _endings(container):
                report = Report.parse(ended.get("message"))
                if report:
                    return report
    return None


def is_ready(pod: Manifest) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def is_preparing(pod: Manifest) -> bool:
    statuses = pod.get("status", {}).get("initContainerStatuses", [])
    return any("running" in container.get("state", {}) for container in statuses)


def _findings(pod: Manifest, devices: frozenset[str]) -> Iterator[Finding]:
    if is_ready(pod):
        return
    status = pod.get("status", {})
    name = pod["metadata"]["name"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield _unscheduled(condition.get("message", ""), devices)
    if status.get("reason") == "Evicted":
        yield Finding("NoReadyPods", f"pod {name} was evicted: {status.get('message', '')}", stalled=False)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        finding = _of_container(pod, container)
        if finding:
            yield finding


def _unscheduled(message: str, devices: frozenset[str]) -> Finding:
    missing = MISSING_OBJECT.search(message)
    if missing:
        claim = missing.group(2)
        return Finding("SourceNotFound", f"PersistentVolumeClaim {claim} does not exist in this namespace: create it")
    short = [name for name in INSUFFICIENT.findall(message) if name.rstrip(".,") in devices]
    if short:
        return Finding(
            INSUFFICIENT_GPU, f"waits for {short[0].rstrip('.,')}, no node has one free: {_gpu_remedy()}", stalled=False
        )
    return Finding("NoReadyPods", f"no node takes the pod: {message}", stalled=False)


def _gpu_remedy() -> str:
    return (
        "add a node, free one, set spec.rollout.strategy to Recreate for changes of the same model, or, for a new model, "
        "give the index spare CPU encoders (spec.rebuild.encoders) or a rollback window of 0"
    )


def _of_container(pod: Manifest, container: Manifest) -> Finding | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_REASONS:
        return Finding(
            "ImagePullFailed", f"image {container.get('image')} of container {container['name']}: {message or reason}"
        )
    if reason in CONFIG_REASONS:
        return _unconfigured(container, message)
    for ended in _endings(container):
        finding = _of_ending(pod, container, ended)
        if finding:
            return finding
    return None


def _unconfigured(container: Manifest, message: str) -> Finding:
    missing = MISSING_OBJECT.search(message)
    if missing and missing.group(1).lower() == "secret":
        secret = missing.group(2)
        return Finding(
            "SecretNotFound",
            f"Secret {secret} does not exist in this namespace: kubectl create secret generic {secret} …",
        )
    key = MISSING_KEY.search(message)
    if key:
        return Finding("SecretNotFound", f"Secret {key.group(2)} has no key {key.group(1)}: add it")
    if container["name"] == COPY:
        return Finding("SourceNotFound", f"the model image can't copy its files, it must have cp: {message}")
    return Finding("NoReadyPods", f"container {container['name']} can't start: {message}", stalled=False)


def _of_ending(pod: Manifest, container: Manifest, ended: Manifest) -> Finding | None:
    if ended.get("exitCode") == 0:
        return None
    name = container["name"]
    if ended.get("reason") == "OOMKilled":
        step = {PREPARE: "preparing the model", EMBED: "serving the model"}.get(name, f"container {name}")
        return Finding(
            "OutOfMemory",
            f"{step} was killed at its memory limit of {_limit(pod, name)}: raise spec.resources.limits.memory",
        )
    report = Report.parse(ended.get("message"))
    if report and report.outcome is Outcome.UNAVAILABLE:
        return Finding("Preparing", report.message, stalled=False)
    if report and report.outcome is not Outcome.PREPARED:
        return Finding(report.outcome.value, report.message)
    said = _last_line(ended.get("message") or ended.get("reason") or "")
    if name == COPY:
        return Finding("SourceNotFound", f"the model image's files could not be copied: {said}")
    return Finding("NoReadyPods", f"container {name} ended with exit code {ended.get('exitCode')}: {said}", stalled=False)


def _last_line(text: str) -> str:
    """Of a log's tail: the line that says what happened stands last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-500:] if lines else "no word"


def _endings(container: Manifest) -> Iterator[Manifest]:
    """The ends of a container that count now: this one, or the last one if it waits or runs again."""
    for state in (container.get("state", {}), container.get("lastState", {})):
        if "terminated" in state:
            yield state["terminated"]


def _limit(pod: Manifest, name: str) -> str:
    spec = pod.get("spec", {})
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        if container["name"] == name:
            return str(container.get("resources", {}).get("limits", {}).get("memory", "the node"))
    return "the node"
