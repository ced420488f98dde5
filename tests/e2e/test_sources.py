"""Every source of a model, through the real `prepare` in a pod under Pod Security `restricted`."""

import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fixtures.hub import Faults, Hub
from fixtures.installation import NODE_ADDRESS
from fixtures.models import minilm_directory
from fixtures.space import Space

REPO = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def minilm_hub(hub: Hub) -> Iterator[tuple[Hub, str]]:
    """The hub with the real model in it, and the model's commit; faults end with the test."""
    revision = hub.add(REPO, minilm_directory())
    hub.requests.clear()
    yield hub, revision
    hub.faults = Faults()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The real model as a tar on a web server, and its SHA-256."""
    path = tmp_path / "minilm.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(minilm_directory(), arcname=".")
    server = ThreadingHTTPServer((NODE_ADDRESS, 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{NODE_ADDRESS}:{server.server_address[1]}/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def claim(space: Space, images: Any) -> str:
    """A claim that holds the real model at /models/minilm, filled by a pod of the model image."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    space.apply(claim)
    restricted = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "fill",
        "image": images.minilm.pinned,
        "command": ["cp", "-r", "/model/.", "/models/minilm"],
        "volumeMounts": [{"name": "models", "mountPath": "/models/minilm", "subPath": "models/minilm"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    spec = {"restartPolicy": "Never", "securityContext": restricted, "containers": [container], "volumes": volumes}
    space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fill"}, "spec": spec})

    def filled() -> bool:
        pod = space.get("pod", "fill")
        return pod is not None and pod["status"].get("phase") == "Succeeded"

    space.wait_for("the claim to be filled", filled)
    space.delete("pod", "fill", wait=True)
    return "models"


def hub_source(revision: str, **more: Any) -> dict[str, Any]:
    return {"source": {"huggingFace": {"repo": REPO, "revision": revision, **more}}}


def test_the_same_files_have_one_fingerprint_whatever_the_source(
    space: Space, minilm_source: dict[str, object], minilm_hub: tuple[Hub, str], archive: tuple[str, str], claim: str
) -> None:
    _, revision = minilm_hub
    url, sha256 = archive
    sources: dict[str, dict[str, Any]] = {
        "image": {"source": minilm_source},
        "hub": hub_source(revision),
        "http": {"source": {"http": {"url": url, "sha256": sha256}}},
        "claim": {"source": {"persistentVolumeClaim": {"claimName": claim, "path": "/models/minilm"}}},
    }
    for name, model in sources.items():
        space.apply_model(name, model=model)
    fingerprints = {name: space.wait_up_to_date(name, seconds=240)["fingerprint"] for name in sources}
    assert len(set(fingerprints.values())) == 1, fingerprints


def test_a_download_that_breaks_goes_on_where_it_broke(space: Space, minilm_hub: tuple[Hub, str]) -> None:
    hub, revision = minilm_hub
    hub.faults = Faults(break_after_bytes=30_000_000, break_times=2)
    space.apply_model("m", model=hub_source(revision))
    space.wait_up_to_date("m", seconds=240)
    resumed = [request.byte_range for request in hub.requests if request.origin == "content" and request.byte_range]
    assert any(byte_range != "bytes=0-" for byte_range in resumed), [request.path for request in hub.requests]


def test_a_token_goes_to_the_hub_and_nowhere_else(space: Space, minilm_hub: tuple[Hub, str]) -> None:
    hub, revision = minilm_hub
    hub.faults = Faults(token="hf_secret")
    space.apply_model("m", model=hub_source(revision, tokenSecretRef={"name": "hub"}))
    missing = space.wait_condition("m", "Stalled", "True", "SecretNotFound")
    assert "hub" in missing["message"]
    space.kubectl("create", "secret", "generic", "hub", "--from-literal=token=hf_secret")
    space.wait_up_to_date("m", seconds=240)
    to_hub = {request.authorization for request in hub.requests if request.origin == "hub"}
    to_content = {request.authorization for request in hub.requests if request.origin == "content"}
    assert to_hub == {"Bearer hf_secret"}
    assert to_content == {None}
    everything = json.dumps([space.list("embeddingmodels"), space.list("pods"), space.list("configmaps")])
    logs = space.kubectl("logs", "deployment/" + space.list("deployments")[0]["metadata"]["name"], "--all-containers")
    assert "hf_secret" not in everything + logs


def test_weights_on_a_claim_are_prepared_once(space: Space, minilm_hub: tuple[Hub, str]) -> None:
    """A restarted pod finds what the first one left; the hub is not asked again."""
    hub, revision = minilm_hub
    space.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "weights"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    space.apply_model("m", model=hub_source(revision), weights={"persistentVolumeClaim": {"claimName": "weights"}})
    before = space.wait_up_to_date("m", seconds=240)
    hub.requests.clear()
    (pod,) = space.list("pods", "app.kubernetes.io/instance=m")
    space.delete("pod", pod["metadata"]["name"], wait=True)
    after = space.wait_up_to_date("m", seconds=120)
    assert after["fingerprint"] == before["fingerprint"]
    assert hub.requests == []
