"""The host cluster itself: what it offers, that it comes back after any kill, and that nothing of it stays behind.

The last test takes the cluster down and brings it up again; run this file before what loads images into it.
"""

from __future__ import annotations

import random
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster import ClusterError, binaries, connect, layout, network, parts, process, teardown, testbox
from cluster.connect import choose
from cluster.host import HostCluster
from cluster.images import archive_program
from cluster.testbox import Room, http

pytestmark = pytest.mark.cluster_lifecycle

_LABEL = "local-cluster/lifecycle"
_GPUS = r".status.allocatable.nvidia\.com/gpu"


@pytest.fixture(scope="module")
def cluster() -> Iterator[HostCluster]:
    backend, why = choose("auto", None, None)
    if backend != "host":
        pytest.skip(f"these tests are about the host backend; here it is {backend}: {why}")
    host = connect("host")
    assert isinstance(host, HostCluster)
    host.up()
    testbox.load(host)
    host.kubectl("delete", "namespace", f"--selector={_LABEL}", "--wait=false")  # of a run that was killed
    yield host
    host.up()  # whatever failed, the next tests find it whole
    host.kubectl("delete", "namespace", f"--selector={_LABEL}", "--wait=false")


@pytest.fixture
def room(cluster: HostCluster) -> Room:
    return _new_room(cluster)


def _new_room(cluster: HostCluster) -> Room:
    namespace = f"lifecycle-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", namespace, f"{_LABEL}=")
    return Room(cluster, namespace)


def eventually(what: str, condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Wait for a condition; a connection that is refused meanwhile is not yet a failure."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, ClusterError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: {error}") from error
        assert time.monotonic() < deadline, f"not after {seconds:.0f} s: {what}"
        time.sleep(0.1)


def pids() -> dict[str, int]:
    return {name: found.pid for name, found in process.leaders().items()}


def test_bringing_it_up_twice_changes_nothing(cluster: HostCluster) -> None:
    def world() -> tuple[dict[str, int], str, str]:
        node = cluster.kubectl("get", "node", layout.NODE_NAME, "--output=jsonpath={.metadata.uid}")
        return pids(), node, cluster.kubectl("get", "pv", "--output=jsonpath={.items[*].metadata.resourceVersion}")

    before = world()
    assert set(before[0]) == set(parts.NAMES)
    cluster.up()
    assert world() == before


def test_an_image_is_imported_once(cluster: HostCluster, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    reference = "localhost/local-cluster/once:1"
    image = archive_program(binaries.program("testbox"), reference, archive)
    cluster.load_image(archive)
    assert cluster.has_image(reference, image.digest)
    assert not cluster.load_image(archive)
    changed = archive_program(binaries.program("pause"), reference, archive)
    assert not cluster.has_image(reference, changed.digest)
    assert cluster.load_image(archive)


def test_a_pod_finds_a_service_by_name_and_reaches_it(room: Room) -> None:
    room.apply(testbox.pod("server"), testbox.service("server"), testbox.pod("client"))
    room.wait("pod/server")
    room.wait("pod/client")
    address, client = room.field("service/server", ".spec.clusterIP"), room.pod_address("client")
    name = f"server.{room.namespace}"
    eventually("the name resolves", lambda: http(client, f"/lookup?name={name}").split() == [address])
    eventually("the Service answers a pod", lambda: http(client, "/fetch?url=http://server") == "server\n")
    eventually("the Service answers the host", lambda: http(address, "/") == "server\n")
    with pytest.raises(urllib.error.HTTPError):  # no other name has an address: the question does not leave the machine
        http(client, "/lookup?name=name.example")


def test_a_forwarded_port_opens_at_once_and_closes(cluster: HostCluster, room: Room) -> None:
    room.apply(testbox.pod("server"))
    room.wait("pod/server")
    started = time.monotonic()
    with cluster.port_forward("pod/server", testbox.PORT, namespace=room.namespace) as port:
        assert http(f"127.0.0.1:{port}", "/") == "server\n"
        assert time.monotonic() - started < 5
    with pytest.raises(urllib.error.URLError):
        http(f"127.0.0.1:{port}", "/")
    with pytest.raises(ClusterError, match="absent"), cluster.port_forward("pod/absent", 80):
        pass


def test_a_released_volume_is_wiped_and_given_out_again(room: Room) -> None:
    room.apply(testbox.claim("first"), testbox.pod("writer", claim="first"))
    room.wait("pod/writer")
    volume = room.field("pvc/first", ".spec.volumeName")
    folder = layout.VOLUMES / volume
    http(room.pod_address("writer"), "/files/secret", b"of the first claim")
    assert (folder / "secret").read_bytes() == b"of the first claim"
    room.kubectl("delete", "pod/writer", "pvc/first", "--wait")
    eventually("the volume is available", lambda: room.field(f"pv/{volume}", ".status.phase") == "Available")
    assert list(folder.iterdir()) == []
    assert (folder.stat().st_uid, folder.stat().st_gid) == (0, 0)  # fsGroup's traces are gone too

    room.apply(testbox.claim("second", volume=volume), testbox.pod("reader", claim="second"))
    room.wait("pod/reader")
    assert http(room.pod_address("reader"), "/files") == ""
    http(room.pod_address("reader"), "/files/new", b"a pod that is not root may write")


def test_with_one_pretended_gpu_the_second_pod_waits(cluster: HostCluster, room: Room) -> None:
    node = f"node/{layout.NODE_NAME}"
    why = ".status.conditions[?(@.type=='PodScheduled')].message"
    cluster.set_gpus(1)
    try:
        room.apply(testbox.pod("first", gpus=1))
        room.wait("pod/first")
        room.apply(testbox.pod("second", gpus=1))
        eventually("the second waits", lambda: "Insufficient nvidia.com/gpu" in room.field("pod/second", why))
        process.kill([pids()["kubelet"]])
        cluster.up()  # a new kubelet would have forgotten the GPU
        assert room.field(node, _GPUS) == "1"
        room.kubectl("delete", "pod/first", "--wait")
        room.wait("pod/second")
    finally:
        cluster.set_gpus(0)
    assert room.field(node, _GPUS) == ""


def test_the_audit_log_tells_who_wrote_what(cluster: HostCluster, room: Room) -> None:
    since = datetime.now(UTC)
    room.kubectl("create", "configmap", "seen")
    ours = [event for event in cluster.audit_events(since) if event["objectRef"].get("name") == "seen"]
    created = [event for event in ours if event["verb"] == "create"]
    assert [event["responseStatus"]["code"] for event in created] == [201]
    assert created[0]["user"]["username"] == "cluster-admin"
    assert created[0]["userAgent"].startswith("kubectl/")
    assert created[0]["stage"] == "ResponseComplete"
    assert not [event for event in cluster.audit_events(datetime.now(UTC)) if event in created]


def test_the_metrics_api_measures_pods(room: Room) -> None:
    room.apply(testbox.pod("measured"))
    room.wait("pod/measured")
    eventually("the pod is measured", lambda: "measured" in room.kubectl("top", "pod", "measured"))


@pytest.fixture(scope="module")
def keeper(cluster: HostCluster) -> Callable[[], bool]:
    """A Deployment with something to lose; the fixture's value tells whether it answers with it."""
    room = _new_room(cluster)
    room.apply(testbox.claim("kept"), testbox.deployment("keeper", claim="kept"), testbox.service("keeper"))
    room.wait("deployment/keeper", "Available")
    address = room.field("service/keeper", ".spec.clusterIP")
    eventually("the data is written", lambda: http(address, "/files/data", b"precious") == "")
    return lambda: http(address, "/files/data") == "precious"


@pytest.mark.parametrize("part", parts.NAMES)
def test_a_killed_part_is_started_again_and_only_that_one(part: str, cluster: HostCluster, keeper: Callable[[], bool]) -> None:
    before = pids()
    process.kill([before.pop(part)])
    cluster.up()
    after = pids()
    assert after.pop(part)
    assert after == before
    eventually("the Deployment answers with its data", keeper)


def test_killed_shims_and_pods_come_back_with_their_data(cluster: HostCluster, keeper: Callable[[], bool]) -> None:
    process.kill({found.pid for found in process.running() if not found.leader} | set(process.in_pods()))
    cluster.up()
    eventually("the Deployment answers with its data", keeper)


def test_with_everything_killed_the_node_and_the_data_come_back(cluster: HostCluster, keeper: Callable[[], bool]) -> None:
    before = pids()
    process.kill({found.pid for found in process.running()} | set(process.in_pods()))
    cluster.up()
    assert not set(before.values()) & set(pids().values())
    eventually("the Deployment answers with its data", keeper)


def test_a_removed_bridge_is_made_again(cluster: HostCluster, keeper: Callable[[], bool]) -> None:
    subprocess.run(["ip", "link", "delete", layout.BRIDGE], check=True)
    cluster.up()
    eventually("the Deployment answers with its data", keeper)


def machine() -> dict[str, list[str]]:
    """What a cluster could leave on the machine, counted with the system's tools rather than the cluster's own."""

    def lines(*argv: str) -> list[str]:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()

    rules = [*lines("iptables-save"), *lines("ip6tables-save")]
    return {
        "processes": [line for line in lines("ps", "-eo", "stat=,args=") if line[0] != "Z" and _of_the_cluster(line)],
        "mounts": sorted(line.split()[4] for line in lines("cat", "/proc/self/mountinfo")),
        "network namespaces": sorted(lines("lsns", "-t", "net", "-n", "-o", "NS")),
        "links": sorted(line.split(":")[1].split("@")[0].strip() for line in lines("ip", "-o", "link")),
        "chains and rules": sorted({rule.split(" [")[0] for rule in rules if rule.startswith((":", "-A"))}),
        "control groups": [str(path) for path in Path("/sys/fs/cgroup").glob("**/kubepods")],
        "volumes": [str(path) for path in layout.VOLUMES.glob("*")],
        "folders": [str(path) for path in (layout.STATE, layout.RUN, layout.SHIM_SOCKETS) if path.exists()],
    }


def _of_the_cluster(line: str) -> bool:
    """The same programs may run elsewhere, for a benchmark say: with other files."""
    program = line.split()[1]
    part = str(layout.cache()) in program and str(layout.STATE) in line
    return "containerd" in program or program in ("/testbox", "/pause") or part


def test_down_leaves_nothing_behind_and_up_makes_it_anew(cluster: HostCluster, keeper: Callable[[], bool]) -> None:
    assert keeper()
    whole = machine()
    assert whole["processes"]
    assert whole["control groups"]
    cluster.delete()
    try:
        assert teardown.leftovers() == []
        bare = machine()
        for what in ("processes", "control groups", "volumes", "folders"):
            assert bare[what] == [], what
        assert not [rule for rule in bare["chains and rules"] if "KUBE-" in rule or "CNI-" in rule]
        assert layout.BRIDGE not in bare["links"]
        assert len(bare["network namespaces"]) < len(whole["network namespaces"])
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        for late in (layout.POD_RANGE, layout.SERVICE_RANGE):  # packets still have no way out
            assert f"unreachable {late}" in routes
        cluster.delete()  # of nothing
        assert machine() == bare

        built = binaries.program("kube-apiserver").stat().st_mtime_ns
        cluster.up()
        assert binaries.program("kube-apiserver").stat().st_mtime_ns == built

        seed = random.randrange(10**6)
        print(f"seed {seed}")
        moments = random.Random(seed)
        for _ in range(3):
            kill("down", after_seconds=moments.uniform(0.2, 1))
            cluster.delete()
            assert machine() == bare
            kill("up", after_seconds=moments.uniform(0.2, 8))
        kill("down", after_seconds=moments.uniform(0.2, 1))
    finally:
        cluster.up()  # repairs what the last kills left half-made
    assert set(pids()) == set(parts.NAMES)
    assert network.bridge_exists()


def kill(command: str, *, after_seconds: float) -> None:
    """Leave it half-done."""
    argv = [sys.executable, "-m", "cluster", "--backend=host", command]
    with subprocess.Popen(argv, cwd=layout.SOURCE.parent) as half_done:
        try:
            half_done.wait(after_seconds)
        except subprocess.TimeoutExpired:
            half_done.send_signal(signal.SIGKILL)
