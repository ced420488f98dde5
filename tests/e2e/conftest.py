"""The real cluster, with the operator installed from its chart, shared by all end-to-end tests of a run."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import images as image_builder
from cluster import Capability, Cluster, connect
from demo.installation import OF_THE_DEMO, others_acting_in, sole_use, uninstall
from fixtures.hub import Hub
from fixtures.installation import HUB_PORT, NODE_ADDRESS, RELEASE, ROOT, SYSTEM, Installation
from fixtures.space import Space


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that take the cluster down come first: what they throw away is then loaded once."""
    items.sort(key=lambda item: "cluster_lifecycle" not in item.keywords)
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent and "cluster_lifecycle" not in item.keywords:
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True)
class Images:
    operator: image_builder.Image
    serving: image_builder.Image
    minilm: image_builder.Image


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Named by KUBECONFIG and EO_CONTEXT where a person has named one; otherwise kind or the host's own."""
    context = os.environ.get("EO_CONTEXT")
    kubeconfig = Path(os.environ["KUBECONFIG"]) if context and "KUBECONFIG" in os.environ else None
    cluster = connect(kubeconfig=kubeconfig, context=context)
    cluster.up()
    return cluster


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Images:
    """Built where their inputs changed, and on the node."""
    built = image_builder.build("operator", "serving", "model")
    for image in built.values():
        cluster.load_image(image.archive)
    return Images(built["operator"], built["serving"], built["model"])


@pytest.fixture(scope="session")
def hub(cluster: Cluster) -> Iterator[Hub]:
    """A hub on the node's address, where pods reach it. It keeps one port, which the chart's values name."""
    if Capability.POD_NETWORK not in cluster.capabilities:
        pytest.skip("pods can't reach a server of the tests on this cluster")
    with Hub(host=NODE_ADDRESS, port=HUB_PORT) as hub:
        yield hub


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> None:
    """The three kinds, as the repository has them."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))


@pytest.fixture(scope="session")
def operator(cluster: Cluster, images: Images, crds: None) -> Iterator[Installation]:
    """Cluster-wide, two replicas, least rights. One operator acts at a time: a demo's is taken away first."""
    cluster.kubectl("create", "namespace", SYSTEM, check=False)
    cluster.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    values = {
        "images.operator": images.operator.reference,
        "images.serving": images.serving.reference,
        "crds.enabled": "false",
        "hub.endpoint": f"http://{NODE_ADDRESS}:{HUB_PORT}",
        "httpSources.allowedHosts[0]": NODE_ADDRESS,
    }
    installation = Installation(cluster, values)
    with sole_use(cluster):
        for other in others_acting_in(cluster, "demo", operator_namespace=SYSTEM):
            uninstall(cluster, operator_namespace=other.operator_namespace, release=other.release)
        made_by_demo = ",".join(f"{key}={value}" for key, value in OF_THE_DEMO.items())
        cluster.kubectl("delete", "namespace", "--selector", made_by_demo, "--timeout=120s")
        installation.upgrade()
        yield installation
        uninstall(cluster, operator_namespace=SYSTEM, release=RELEASE)


@contextlib.contextmanager
def fresh_space(cluster: Cluster) -> Iterator[Space]:
    """A namespace under Pod Security `restricted`."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(manifest))
    yield Space(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def space(cluster: Cluster, operator: Installation) -> Iterator[Space]:
    """A namespace of its own for a test."""
    with fresh_space(cluster) as space:
        yield space


@pytest.fixture(scope="module")
def shared_space(cluster: Cluster, operator: Installation) -> Iterator[Space]:
    """A namespace for all tests of a file."""
    with fresh_space(cluster) as space:
        yield space


@pytest.fixture(scope="session")
def minilm_source(images: Images) -> dict[str, object]:
    """The real all-MiniLM-L6-v2 as a model image."""
    return {"image": {"reference": images.minilm.pinned, "path": image_builder.MODEL_PATH}}
