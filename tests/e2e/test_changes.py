"""A model that changes while it serves: nobody who asks is cut off, nothing that was made stays broken."""

import json
from collections.abc import Callable

import pytest

import images as image_builder
from cluster import Capability, Cluster
from fixtures import models
from fixtures.load import Load
from fixtures.space import Space

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 3, "metrics": [{"type": "CPUUtilization", "target": 90}]}


@pytest.fixture
def loadable(space: Space, cluster: Cluster) -> Space:
    if Capability.POD_NETWORK not in cluster.capabilities:
        pytest.skip("this cluster's Services don't answer from here")
    return space


@pytest.fixture(scope="session")
def other_source(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A second, different model: the real one with half of its layers."""
    directory = models.derived_minilm(tmp_path_factory.mktemp("models") / "other", layers=3)
    image = image_builder.model_image("other", directory)
    cluster.load_image(image.archive)
    return {"image": {"reference": image.pinned, "path": image_builder.MODEL_PATH}}


def test_a_change_that_moves_no_vector_rolls_and_cuts_nobody_off(loadable: Space, minilm_source: dict[str, object]) -> None:
    loadable.apply_model("m", model={"source": minilm_source})
    before = loadable.wait_up_to_date("m")
    with Load(loadable, "m") as load:
        loadable.patch("embeddingmodel", "m", {"spec": {"runtime": {"maxBatchTokens": 256}}})
        after = loadable.wait_up_to_date("m")
        loadable.patch("embeddingmodel", "m", {"spec": {"runtime": {"maxBatchTokens": 512}}})
        loadable.wait_up_to_date("m")
    assert load.failures == []
    assert load.answers > 50
    assert (after["revision"], after["fingerprint"]) == (before["revision"], before["fingerprint"])


def test_that_test_notices_a_missing_drain(loadable: Space, minilm_source: dict[str, object]) -> None:
    """Pods that are killed without notice cut requests off: the load sees it."""
    loadable.apply_model("m", model={"source": minilm_source})
    loadable.wait_up_to_date("m")
    with Load(loadable, "m") as load:
        loadable.wait_for("some answers", lambda: load.answers > 10)
        (pod,) = loadable.list("pods", "app.kubernetes.io/instance=m")
        loadable.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        loadable.wait_for("a failure", lambda: load.failures, 30)


def test_a_new_model_takes_over_without_a_failed_request(
    loadable: Space, minilm_source: dict[str, object], other_source: dict[str, object]
) -> None:
    loadable.apply_model("m", model={"source": minilm_source})
    before = loadable.wait_up_to_date("m")
    with Load(loadable, "m") as load:
        loadable.apply_model("m", model={"source": other_source})
        loadable.wait_for("the new revision", lambda: loadable.status("m").get("revision") != before["revision"])
        after = loadable.wait_up_to_date("m")
        old = f"m-embed-{before['revision']}"
        loadable.wait_for("the old revision to go", lambda: loadable.get("deployment", old) is None)
    assert load.failures == []
    assert load.answers > 50
    assert after["fingerprint"] != before["fingerprint"]


def test_a_revision_that_an_index_reads_from_stays_until_it_is_left(
    space: Space, minilm_source: dict[str, object], other_source: dict[str, object]
) -> None:
    space.apply_model("m", model={"source": minilm_source})
    old = space.wait_up_to_date("m")["revision"]
    space.apply_index("docs", modelRef={"name": "m"}, rebuild={"autoPromotionEnabled": False})
    space.wait_up_to_date("docs", kind="vectorindex")
    space.apply_model("m", model={"source": other_source})
    space.wait_for("the new revision", lambda: space.status("m").get("revision") not in (None, old), 120)
    new = space.wait_up_to_date("m")["revision"]
    kept = space.get("deployment", f"m-embed-{old}")
    assert kept is not None
    assert kept["status"]["readyReplicas"] == 1
    (entry,) = [entry for entry in space.status("m")["revisions"] if entry["name"] == old]
    assert (entry["state"], entry["usedBy"]) == ("Retained", ["VectorIndex/docs"])
    space.wait_for("another generation", lambda: space.status("docs", "vectorindex").get("rebuild", {}).get("generation") == 2)
    assert space.status("docs", "vectorindex")["active"]["revision"] == old, "nobody has promoted the other one"
    assert new != old
    space.delete("vectorindex", "docs")
    space.wait_for("the old revision to go", lambda: space.get("deployment", f"m-embed-{old}") is None)


def test_replicas_never_dip_while_autoscaling_goes_on_off_and_on(
    space: Space, cluster: Cluster, minilm_source: dict[str, object]
) -> None:
    if Capability.METRICS not in cluster.capabilities:
        pytest.skip("this cluster has no metrics")
    space.apply_model("m", model={"source": minilm_source}, replicas=2)
    name = f"m-embed-{space.wait_up_to_date('m')['revision']}"
    seen: list[int] = []

    def _scaling_active() -> bool:
        return space.condition("m", "ScalingActive").get("status") == "True"

    def _no_autoscaler() -> bool:
        return space.get("hpa", name) is None

    def look(done: Callable[[], bool]) -> bool:
        deployment = space.get("deployment", name)
        assert deployment is not None
        seen.extend((deployment["spec"]["replicas"], deployment["status"].get("readyReplicas", 0)))
        return done()

    for autoscaling in (AUTOSCALING, None, AUTOSCALING):
        space.patch("embeddingmodel", "m", {"spec": {"autoscaling": autoscaling}})
        if autoscaling:
            space.wait_for("the HPA to act", lambda: look(_scaling_active), 180)
        else:
            space.wait_for("the HPA to go", lambda: look(_no_autoscaler))
        space.wait_up_to_date("m")
    assert min(seen) == 2


def test_edited_and_deleted_children_heal(space: Space, minilm_source: dict[str, object]) -> None:
    space.apply_model("m", model={"source": minilm_source})
    name = f"m-embed-{space.wait_up_to_date('m')['revision']}"
    children = {
        ("deployment", name),
        ("service", name),
        ("service", "m-embed"),
        ("configmap", name),
        ("pdb", name),
        ("serviceaccount", "m-embed"),
        ("networkpolicy", "m-embed"),
    }
    for kind, child in sorted(children):
        before = space.get(kind, child)
        assert before is not None
        space.delete(kind, child, wait=True)
        uid = before["metadata"]["uid"]
        space.wait_for(f"another {kind} {child}", lambda k=kind, c=child, u=uid: _uid(space, k, c) not in ("", u))  # type: ignore[misc]
    space.wait_up_to_date("m")
    space.patch("service", "m-embed", {"spec": {"selector": {"embedding-operator.io/revision": "00000000"}}})
    space.patch("deployment", name, {"spec": {"replicas": 3}})
    space.patch("deployment", name, {"metadata": {"labels": {"embedding-operator.io/embeddingmodel": None}}})
    space.kubectl("set", "image", f"deployment/{name}", "embed=localhost/other:1")

    def healed() -> bool:
        deployment, service = space.get("deployment", name), space.get("service", "m-embed")
        assert deployment is not None
        assert service is not None
        return bool(
            deployment["spec"]["replicas"] == 1
            and deployment["metadata"]["labels"].get("embedding-operator.io/embeddingmodel") == "m"
            and deployment["spec"]["template"]["spec"]["containers"][0]["image"].startswith("localhost/embedding-serving")
            and service["spec"]["selector"]["embedding-operator.io/revision"] != "00000000"
        )

    space.wait_for("everything as intended", healed)
    space.wait_up_to_date("m")


def _uid(space: Space, kind: str, name: str) -> str:
    found = space.get(kind, name)
    return str(found["metadata"]["uid"]) if found else ""


def test_deleting_a_model_removes_what_it_made_and_nothing_else(space: Space, minilm_source: dict[str, object]) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m-embed-notes"}, "data": {"a": "b"}}
    space.apply(theirs)
    space.apply_model("m", model={"source": minilm_source})
    space.apply_model("other", model={"source": minilm_source})
    space.wait_up_to_date("m")
    space.wait_up_to_date("other")
    kinds = "deployments,replicasets,pods,services,endpointslices,serviceaccounts,configmaps,hpa,pdb,networkpolicies"

    def made() -> set[str]:
        found = json.loads(space.kubectl("get", kinds, "-o", "json"))["items"]
        return {f"{item['kind']}/{item['metadata']['name']}" for item in found}

    others = {child for child in made() if "/other" in child}
    space.delete("embeddingmodel", "m", wait=True)
    system = {"ServiceAccount/default", "ConfigMap/kube-root-ca.crt"}
    space.wait_for("its children to go", lambda: made() == others | system | {"ConfigMap/m-embed-notes"}, 90)
    space.wait_up_to_date("other")


def test_scaling_through_the_scale_subresource(space: Space, minilm_source: dict[str, object]) -> None:
    space.apply_model("m", model={"source": minilm_source})
    space.wait_up_to_date("m")
    space.kubectl("scale", "embeddingmodel", "m", "--replicas=2")
    assert space.wait_up_to_date("m")["readyReplicas"] == 2
    space.kubectl("scale", "embeddingmodel", "m", "--replicas=0")
    stopped = space.wait_condition("m", "Ready", "False", "ScaledToZero")
    assert "raise it" in stopped["message"]
