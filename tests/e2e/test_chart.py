"""The chart on a real API server: what it may do, what it leaves behind, and what a killed run of helm does to it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster import Cluster
from demo import following
from demo.installation import CHART, install, namespace, uninstall
from fixtures.installation import helm
from images import Image, build

# No replicas: an operator of this release would act beside the one that other tests share.
ASLEEP = {"replicas": 0}
SECONDS = 90


@dataclass(frozen=True)
class Place:
    """Two namespaces of a test, and the release between them."""

    release: str
    system: str
    watched: str

    @property
    def account(self) -> str:
        return f"system:serviceaccount:{self.system}:{self.release}-embedding-operator"


@pytest.fixture(scope="module")
def built(cluster: Cluster) -> dict[str, Image]:
    found = build("operator", "serving")
    for image in found.values():
        cluster.load_image(image.archive)
    return found


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    unique = uuid.uuid4().hex[:6]
    chosen = Place(f"chart-{unique}", f"chart-{unique}-system", f"chart-{unique}-watched")
    for name in (chosen.system, chosen.watched):
        namespace(cluster, name)
    yield chosen
    uninstall(cluster, operator_namespace=chosen.system, release=chosen.release)
    cluster.kubectl("delete", "namespace", chosen.system, chosen.watched, "--wait=false")


def _install(cluster: Cluster, built: dict[str, Image], place: Place, **values: object) -> None:
    install(
        cluster,
        built,
        operator_namespace=place.system,
        watch_namespaces=[place.watched],
        release=place.release,
        values=values,
    )


def _may(cluster: Cluster, place: Place, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    target = f"{resource}/{name}" if name else resource
    asked = ["auth", "can-i", verb, target, f"--as={place.account}", f"--namespace={namespace}"]
    return cluster.kubectl(*asked, check=False).strip() == "yes"


def test_a_namespaced_operator_runs_with_the_rights_of_its_namespaces(
    cluster: Cluster, built: dict[str, Image], place: Place
) -> None:
    _install(cluster, built, place, replicas=1)
    name = f"{place.release}-embedding-operator"
    following.follow(lambda: following.deployment(cluster, place.system, name), deadline_seconds=SECONDS)
    deadline = time.monotonic() + SECONDS
    while not cluster.kubectl("get", "lease", name, f"--namespace={place.system}", "--ignore-not-found"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    logs = cluster.kubectl("logs", f"deployment/{name}", f"--namespace={place.system}").lower()
    assert "forbidden" not in logs
    assert "permission" not in logs


def test_the_api_server_lets_it_do_its_work_and_nothing_else(cluster: Cluster, built: dict[str, Image], place: Place) -> None:
    _install(cluster, built, place, **ASLEEP)
    lease = f"{place.release}-embedding-operator"
    assert _may(cluster, place, "list", "embeddingmodels.embedding-operator.io", place.watched)
    assert _may(cluster, place, "create", "deployments.apps", place.watched)
    assert _may(cluster, place, "update", "leases.coordination.k8s.io", place.system, lease)
    refused = [
        ("list", "embeddingmodels.embedding-operator.io", "default"),
        ("patch", "embeddingmodels.embedding-operator.io", place.watched),
        ("get", "secrets", place.watched),
        ("get", "secrets", place.system),
        ("create", "pods", place.watched),
        ("create", "rolebindings.rbac.authorization.k8s.io", place.watched),
        ("update", "leases.coordination.k8s.io", place.watched),
    ]
    assert [question for question in refused if _may(cluster, place, *question)] == []


def test_uninstalling_leaves_the_crds_and_every_object(
    cluster: Cluster, built: dict[str, Image], place: Place, crds: None
) -> None:
    _install(cluster, built, place, **ASLEEP)
    source = {"http": {"url": "http://files.internal/model.tar", "sha256": "0" * 64}}
    model = {
        "apiVersion": "embedding-operator.io/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "kept", "namespace": place.watched},
        "spec": {"model": {"source": source}, "replicas": 0},
    }
    cluster.kubectl("create", "--filename=-", input=json.dumps(model))
    before = following.get(cluster, place.watched, "embeddingmodel", "kept")["metadata"]["uid"]
    uninstall(cluster, operator_namespace=place.system, release=place.release)
    assert following.get(cluster, place.watched, "embeddingmodel", "kept")["metadata"]["uid"] == before
    left = cluster.kubectl("get", "all,role,rolebinding,serviceaccount", f"--namespace={place.system}", "--output=name")
    assert [name for name in left.split() if place.release in name] == []
    _install(cluster, built, place, **ASLEEP)


def test_a_killed_helm_does_not_block_the_next_install(cluster: Cluster, built: dict[str, Image], place: Place) -> None:
    arguments = ["upgrade", "--install", "--wait", "--take-ownership", place.release, str(CHART)]
    settings = [
        "--set",
        f"watchNamespaces={{{place.watched}}},images.operator=localhost/no-such-image:1,images.pullPolicy=Never",
    ]
    where = [f"--namespace={place.system}", f"--kubeconfig={cluster.kubeconfig}"]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    killed = subprocess.Popen([helm(), *arguments, *settings, *where], stderr=subprocess.DEVNULL, env=environment)
    deployment = f"{place.release}-embedding-operator"
    deadline = time.monotonic() + SECONDS
    while not cluster.kubectl("get", "deployment", deployment, f"--namespace={place.system}", "--ignore-not-found"):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed.kill()
    killed.wait()
    _install(cluster, built, place, **ASLEEP)
    live = following.get(cluster, place.system, "deployment", deployment)
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == built["operator"].reference
    status = f"--selector=owner=helm,name={place.release},status=deployed"
    assert cluster.kubectl("get", "secrets", status, f"--namespace={place.system}", "--output=name")
