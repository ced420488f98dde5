"""Why a model does not serve: each cause for real, and what `kubectl` then says of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import images as image_builder
from cluster import Capability, Cluster
from fixtures import models
from fixtures.hub import Faults, Hub
from fixtures.installation import NODE_ADDRESS
from fixtures.space import Space

COMMIT = "0" * 40
UNKNOWN_DIGEST = "sha256:" + "0" * 64


def stalled(space: Space, name: str, reason: str, *words: str, seconds: float = 120) -> None:
    """The condition names reason and remedy, `kubectl get` shows the cause, `kubectl describe` an event."""
    condition = space.wait_condition(name, "Stalled", "True", reason, seconds)
    for word in words:
        assert word in condition["message"], condition["message"]
    assert space.condition(name, "Ready")["status"] == "False"
    assert space.condition(name, "Reconciling") == {}
    assert reason in space.kubectl("get", "em", name)
    assert reason in space.kubectl("describe", "em", name)


@pytest.fixture
def faulty(hub: Hub) -> Iterator[Hub]:
    yield hub
    hub.faults = Faults()


def from_hub(repo: str, revision: str, **more: Any) -> dict[str, Any]:
    return {"source": {"huggingFace": {"repo": repo, "revision": revision, **more}}}


def test_a_missing_secret(space: Space, hub: Hub) -> None:
    space.apply_model("m", model=from_hub("a/b", COMMIT, tokenSecretRef={"name": "hub-token"}))
    stalled(space, "m", "SecretNotFound", "hub-token", "kubectl create secret")


def test_an_unknown_repository(space: Space, hub: Hub) -> None:
    space.apply_model("m", model=from_hub("nobody/nothing", COMMIT))
    stalled(space, "m", "SourceNotFound", "nobody/nothing")


def test_a_wrong_hash(space: Space, faulty: Hub, tmp_path: Path) -> None:
    revision = faulty.add("t/flipped", models.tiny_model(tmp_path))
    faulty.faults = Faults(wrong_bytes=True)
    space.apply_model("m", model=from_hub("t/flipped", revision))
    stalled(space, "m", "HashMismatch")


def test_weights_that_are_pickled(space: Space, hub: Hub, tmp_path: Path) -> None:
    revision = hub.add("t/pickled", models.pickle_only_model(tmp_path))
    space.apply_model("m", model=from_hub("t/pickled", revision))
    stalled(space, "m", "UnsafeWeights", "safetensors")


def test_an_unsupported_model(space: Space, hub: Hub, tmp_path: Path) -> None:
    revision = hub.add("t/unknown", models.unknown_architecture_model(tmp_path))
    space.apply_model("m", model=from_hub("t/unknown", revision))
    stalled(space, "m", "UnsupportedModel")


def test_too_little_memory_to_prepare(space: Space, minilm_source: dict[str, object]) -> None:
    space.apply_model("m", model={"source": minilm_source}, resources={"limits": {"memory": "48Mi"}})
    stalled(space, "m", "OutOfMemory", "48Mi", "spec.resources.limits.memory")


def test_too_little_memory_to_serve(space: Space, minilm_source: dict[str, object]) -> None:
    """What was prepared with enough lies on a claim; the server then dies at a limit that is too low for it."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    space.apply(claim)
    weights = {"persistentVolumeClaim": {"claimName": "weights"}}
    space.apply_model("m", model={"source": minilm_source}, weights=weights, rollout={"strategy": "Recreate"})
    space.wait_up_to_date("m")
    space.patch("embeddingmodel", "m", {"spec": {"resources": {"limits": {"memory": "110Mi"}}}})
    condition = space.wait_condition("m", "Stalled", "True", "OutOfMemory", 180)
    assert "serving the model" in condition["message"]
    assert "110Mi" in condition["message"]


def test_no_image(space: Space) -> None:
    source = {"image": {"reference": f"localhost/none@{UNKNOWN_DIGEST}", "path": "/model"}}
    space.apply_model("m", model={"source": source})
    stalled(space, "m", "ImagePullFailed", "localhost/none")


def test_a_missing_claim(space: Space) -> None:
    space.apply_model("m", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
    stalled(space, "m", "SourceNotFound", "none", "create it")


def test_a_missing_path_on_an_image(space: Space, minilm_source: dict[str, Any]) -> None:
    source = {"image": minilm_source["image"] | {"path": "/elsewhere"}}
    space.apply_model("m", model={"source": source})
    stalled(space, "m", "SourceNotFound", "/elsewhere")


def test_a_source_address_that_is_not_allowed(space: Space) -> None:
    space.apply_model("m", model={"source": {"http": {"url": "http://127.0.0.1/x.tar", "sha256": "0" * 64}}})
    stalled(space, "m", "SourceNotFound", "127.0.0.1")


def test_an_archive_that_is_not_there(space: Space) -> None:
    space.apply_model("m", model={"source": {"http": {"url": f"http://{NODE_ADDRESS}:1/x.tar", "sha256": "0" * 64}}})
    condition = space.wait_condition("m", "Ready", "False", "Preparing", 90)
    told = space.wait_for("the refused connection", lambda: NODE_ADDRESS in space.condition("m", "Ready")["message"], 90)
    assert told, condition
    assert space.condition("m", "Stalled") == {}, "a server that is away may come back"


def test_a_name_that_is_taken(space: Space, minilm_source: dict[str, object]) -> None:
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m-embed"}, "spec": {"ports": [{"port": 80}]}}
    space.apply(theirs)
    space.apply_model("m", model={"source": minilm_source})
    condition = space.wait_condition("m", "Stalled", "True", "NameConflict")
    assert "Service m-embed" in condition["message"]
    service = space.get("service", "m-embed")
    assert service is not None
    assert service["spec"]["ports"][0]["port"] == 80
    assert "ownerReferences" not in service["metadata"]
    space.delete("service", "m-embed", wait=True)
    space.wait_up_to_date("m")


def test_no_gpu(space: Space, cluster: Cluster, minilm_source: dict[str, object]) -> None:
    """One GPU: a change of the same model wants a second pod, which has to wait; status says for what and what to do."""
    if Capability.FAKE_GPU not in cluster.capabilities:
        pytest.skip("this cluster can't pretend to have a GPU")
    cluster.set_gpus(1)
    try:
        gpu = {"limits": {"nvidia.com/gpu": 1}}
        runtime = {"engine": "ONNXRuntime"}
        space.apply_model("m", model={"source": minilm_source}, resources=gpu, runtime=runtime)
        space.wait_up_to_date("m")
        space.patch("embeddingmodel", "m", {"spec": {"runtime": {"maxBatchTokens": 256}}})
        waiting = space.wait_condition("m", "UpToDate", "False", "InsufficientGPU")
        assert "nvidia.com/gpu" in waiting["message"]
        assert "Recreate" in waiting["message"]
        assert space.condition("m", "Ready")["status"] == "True", "the old pod serves on"
        assert "WaitingForGPU" in space.kubectl("get", "em", "m")
        space.patch("embeddingmodel", "m", {"spec": {"rollout": {"strategy": "Recreate"}}})
        space.wait_up_to_date("m")
    finally:
        cluster.set_gpus(0)


def test_no_metrics(space: Space, minilm_source: dict[str, object]) -> None:
    """An HPA on a metric that no adapter serves: it serves on, and status says what is missing."""
    metrics = [{"type": "QueuedTokens", "target": "1000"}]
    space.apply_model("m", model={"source": minilm_source}, autoscaling={"maxReplicas": 2, "metrics": metrics})
    told = space.wait_condition("m", "ScalingActive", "False", "MetricsUnavailable", 120)
    assert "adapter" in told["message"]
    space.wait_condition("m", "Ready", "True")


def test_a_weaker_revision_does_not_take_over(space: Space, hub: Hub, tmp_path: Path, minilm_source: dict[str, object]) -> None:
    """The new model can't be served: the old one serves on, and status says both."""
    space.apply_model("m", model={"source": minilm_source})
    old = space.wait_up_to_date("m")["revision"]
    revision = hub.add("t/pickled2", models.pickle_only_model(tmp_path))
    space.apply_model("m", model=from_hub("t/pickled2", revision))
    space.wait_condition("m", "Stalled", "True", "UnsafeWeights", 120)
    assert space.condition("m", "Ready")["status"] == "True"
    assert space.status("m")["revision"] == old


def test_a_second_model_image_is_another_vector_space(space: Space, tmp_path: Path, minilm_source: dict[str, object]) -> None:
    other = image_builder.model_image("other", models.derived_minilm(tmp_path / "other", layers=3))
    space.cluster.load_image(other.archive)
    space.apply_model("m", model={"source": minilm_source})
    before = space.wait_up_to_date("m")
    space.apply_model("m", model={"source": {"image": {"reference": other.pinned, "path": image_builder.MODEL_PATH}}})
    space.wait_for("the new revision", lambda: space.status("m").get("revision") != before["revision"], 120)
    after = space.wait_up_to_date("m")
    assert after["fingerprint"] != before["fingerprint"]
