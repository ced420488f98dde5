"""From what the kubelet and the scheduler write (recorded from a real node) to a reason and a remedy."""

from typing import Any

import pytest

from embedding_operator.plan.diagnosis import diagnose

REPORT = '{"outcome":"%s","message":"the remedy"}'


def pod(**status: Any) -> dict[str, Any]:
    containers = [{"name": "embed", "resources": {"limits": {"memory": "64Mi"}}}]
    spec = {"initContainers": [{"name": "prepare", "resources": {"limits": {"memory": "32Mi"}}}], "containers": containers}
    return {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status}


def init(name: str, **state: Any) -> dict[str, Any]:
    return {"initContainerStatuses": [{"name": name, "image": "img", "state": {}, **state}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def crashed(message: str, *, reason: str = "Error", code: int = 1) -> dict[str, Any]:
    ended = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}


def unscheduled(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


@pytest.mark.parametrize(
    ("status", "reason", "stalled", "words"),
    [
        (init("prepare", **waiting("CreateContainerConfigError", 'secret "tok" not found')), "SecretNotFound", True, "tok"),
        (
            init("prepare", **waiting("CreateContainerConfigError", "couldn't find key token in Secret ns/tok")),
            "SecretNotFound",
            True,
            "no key token",
        ),
        (init("copy", **waiting("ImagePullBackOff", "Back-off pulling")), "ImagePullFailed", True, "img"),
        (init("copy", **waiting("ErrImageNeverPull")), "ImagePullFailed", True, "ErrImageNeverPull"),
        (
            init("copy", **waiting("CreateContainerError", 'exec: "cp": executable file not found')),
            "SourceNotFound",
            True,
            "must have cp",
        ),
        (init("copy", **crashed("cp: can't stat '/none/.'")), "SourceNotFound", True, "can't stat"),
        (init("prepare", **crashed(REPORT % "HashMismatch")), "HashMismatch", True, "the remedy"),
        (init("prepare", **crashed(REPORT % "UnsafeWeights")), "UnsafeWeights", True, "the remedy"),
        (init("prepare", **crashed(REPORT % "UnsupportedModel")), "UnsupportedModel", True, "the remedy"),
        (init("prepare", **crashed(REPORT % "SourceNotFound")), "SourceNotFound", True, "the remedy"),
        (init("prepare", **crashed(REPORT % "Unavailable")), "Preparing", False, "the remedy"),
        (init("prepare", **crashed("", reason="OOMKilled", code=137)), "OutOfMemory", True, "32Mi"),
        (
            {"containerStatuses": [{"name": "embed", **crashed("", reason="OOMKilled", code=137)}]},
            "OutOfMemory",
            True,
            "64Mi",
        ),
        (
            {"containerStatuses": [{"name": "embed", **crashed(REPORT % "SelfCheckFailed")}]},
            "SelfCheckFailed",
            True,
            "the remedy",
        ),
        (
            {"containerStatuses": [{"name": "embed", **crashed("Traceback\n  File x\nKeyError: 'y'")}]},
            "NoReadyPods",
            False,
            "KeyError: 'y'",
        ),
        (unscheduled("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), "InsufficientGPU", False, "nvidia.com/gpu"),
        (unscheduled("0/1 nodes are available: 1 Insufficient memory."), "NoReadyPods", False, "Insufficient memory"),
        (
            unscheduled('0/1 nodes are available: persistentvolumeclaim "models" not found.'),
            "SourceNotFound",
            True,
            "models",
        ),
    ],
)
def test_a_pod_says_why_it_does_not_serve(status: dict[str, Any], reason: str, stalled: bool, words: str) -> None:
    finding = diagnose([pod(**status)], ["nvidia.com/gpu"])
    assert finding is not None
    assert (finding.reason, finding.stalled) == (reason, stalled)
    assert words in finding.message
    assert "Traceback" not in finding.message


def test_a_pod_that_recovered_or_goes_is_no_finding() -> None:
    ready = pod(
        conditions=[{"type": "Ready", "status": "True"}], **init("prepare", **crashed("", reason="OOMKilled", code=137))
    )
    going = pod(**init("prepare", **crashed("", reason="OOMKilled", code=137)))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    assert diagnose([ready, going], []) is None


def test_what_needs_somebody_to_act_is_told_first() -> None:
    full = pod(**unscheduled("0/1 nodes are available: 1 Insufficient memory."))
    broken = pod(**init("prepare", **crashed(REPORT % "HashMismatch")))
    finding = diagnose([full, broken], [])
    assert finding is not None
    assert finding.reason == "HashMismatch"
