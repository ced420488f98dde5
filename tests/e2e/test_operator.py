"""The operator's own conduct on a real API server: silence when all is well, one leader, no trace of its deaths."""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster import Capability, Cluster
from fixtures.installation import OPERATOR, SYSTEM, Installation
from fixtures.load import Load
from fixtures.pod_processes import kill, process_of
from fixtures.space import Space

ACCOUNT = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
POD_NAME = "authentication.kubernetes.io/pod-name"
WRITES = frozenset({"create", "update", "patch", "delete"})


def operator_events(cluster: Cluster, since: datetime) -> list[dict[str, Any]]:
    return [event for event in cluster.audit_events(since) if event["user"]["username"] == ACCOUNT]


def writes(cluster: Cluster, since: datetime) -> list[dict[str, Any]]:
    """What the operator wrote, its Lease aside."""
    found = operator_events(cluster, since)
    return [event for event in found if event["verb"] in WRITES and event["objectRef"]["resource"] != "leases"]


def author(event: dict[str, Any]) -> str:
    return str(event["user"]["extra"][POD_NAME][0])


def described(event: dict[str, Any]) -> str:
    reference = event["objectRef"]
    return f"{event['verb']} {reference['resource']}/{reference.get('name')} {reference.get('subresource', '')}"


def leader(cluster: Cluster) -> str:
    path = "jsonpath={.spec.holderIdentity}"
    return cluster.kubectl("-n", SYSTEM, "get", "lease", OPERATOR, "-o", path, check=False).strip()


def living_leader(cluster: Cluster) -> str:
    """The leader if its process runs; empty while the Lease still names one that is gone."""
    pod = leader(cluster)
    try:
        return pod if pod and process_of(pod) else ""
    except AssertionError:
        return ""


def ready_replicas(cluster: Cluster) -> int:
    path = "jsonpath={.status.readyReplicas}"
    return int(cluster.kubectl("-n", SYSTEM, "get", "deployment", OPERATOR, "-o", path).strip() or 0)


@pytest.fixture
def killable(cluster: Cluster, space: Space) -> Iterator[Space]:
    if not {Capability.KILL_PROCESSES, Capability.AUDIT_LOG} <= cluster.capabilities:
        pytest.skip("this cluster's processes can't be killed from here, or it keeps no audit log")
    space.wait_for("two operators", lambda: ready_replicas(cluster) == 2)
    yield space
    space.wait_for("two operators again", lambda: ready_replicas(cluster) == 2, 120)


def test_after_convergence_nothing_is_written(
    operator: Installation, cluster: Cluster, space: Space, minilm_source: dict[str, object]
) -> None:
    if Capability.AUDIT_LOG not in cluster.capabilities:
        pytest.skip("this cluster keeps no audit log")
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "metrics": [{"type": "CPUUtilization", "target": 80}]}
    operator.upgrade(resyncSeconds="2")
    try:
        space.apply_model("plain", model={"source": minilm_source})
        space.apply_model("scaled", model={"source": minilm_source}, autoscaling=autoscaling)
        space.apply_model("broken", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
        space.wait_up_to_date("plain")
        space.wait_up_to_date("scaled")
        space.wait_condition("broken", "Stalled", "True", "SourceNotFound")
        if Capability.METRICS in cluster.capabilities:
            space.wait_condition("scaled", "ScalingActive", "True", seconds=180)
        time.sleep(5)  # events of the last change
        began = datetime.now(UTC)
        time.sleep(25)  # what may not happen cannot be waited for: a dozen resyncs, several rounds of the HPA
        looks = [event for event in operator_events(cluster, began) if event["objectRef"].get("name") == "plain"]
        assert len(looks) >= 5, "it looked again and again"
        assert [described(event) for event in writes(cluster, began) if event["objectRef"]["namespace"] == space.name] == []
    finally:
        operator.upgrade()


def test_every_call_is_allowed_and_no_secret_is_read(operator: Installation, cluster: Cluster, space: Space) -> None:
    if Capability.AUDIT_LOG not in cluster.capabilities:
        pytest.skip("this cluster keeps no audit log")
    began = datetime.now(UTC)
    space.apply_model("m", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
    space.wait_condition("m", "Stalled", "True")
    space.delete("embeddingmodel", "m", wait=True)
    elsewhere = [event for event in operator_events(cluster, began) if event["objectRef"].get("namespace") != space.name]
    assert not [event for event in elsewhere if event["objectRef"]["resource"] == "secrets"]
    events = [event for event in operator_events(cluster, began) if event["objectRef"].get("namespace") == space.name]
    assert len(events) > 10
    refused = [described(event) for event in events if event["responseStatus"]["code"] in (401, 403)]
    assert refused == []
    assert not [event for event in events if event["objectRef"]["resource"] == "secrets"]


def test_after_the_death_of_a_leader_one_acts_again_and_two_never_take_turns(killable: Space, cluster: Cluster) -> None:
    began = datetime.now(UTC)
    first = killable.wait_for("a leader", lambda: living_leader(cluster))
    killable.apply_model("before", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
    killable.wait_condition("before", "Stalled", "True")
    kill(first)
    died = time.monotonic()
    killable.apply_model("after", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
    killable.wait_condition("after", "Stalled", "True", seconds=60)
    print(f"a leader acts again after {time.monotonic() - died:.1f} s")
    authors = [author(event) for event in writes(cluster, began)]
    changes = sum(1 for one, other in itertools.pairwise(authors) if one != other)
    assert changes <= 1, f"two leaders took turns: {authors}"


def test_a_frozen_leader_does_not_write_when_it_thaws(killable: Space, cluster: Cluster) -> None:
    """The Lease passes while the process is stopped; what it had in hand must not reach the API server."""
    first = killable.wait_for("a leader", lambda: living_leader(cluster))
    process = process_of(first)
    frozen = time.monotonic()
    kill(first, signal.SIGSTOP)
    try:
        killable.apply_model("m", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
        killable.wait_for("another leader", lambda: leader(cluster) not in ("", first), 60)
        passed = datetime.now(UTC)
        print(f"another leads after {time.monotonic() - frozen:.1f} s")
    finally:
        os.kill(process, signal.SIGCONT)
    killable.wait_condition("m", "Stalled", "True")
    killable.apply_model("another", model={"source": {"persistentVolumeClaim": {"claimName": "none"}}})
    killable.wait_condition("another", "Stalled", "True")
    assert first not in {author(event) for event in writes(cluster, passed)}


def test_killing_the_operator_at_random_leaves_serving_untouched_and_the_end_the_same(
    killable: Space, cluster: Cluster, minilm_source: dict[str, object]
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killable.apply_model("m", model={"source": minilm_source})
    first = killable.wait_up_to_date("m")["revision"]
    stop = threading.Event()
    kills: list[str] = []

    def killer() -> None:
        while not stop.wait(chance.uniform(0.3, 3)):
            pod = leader(cluster)
            try:
                kill(pod)
                kills.append(pod)
            except (AssertionError, ProcessLookupError):
                continue

    killing = threading.Thread(target=killer)
    killing.start()
    try:
        with Load(killable, "m") as load:
            killable.apply_model("m", model={"source": minilm_source, "maxTokens": 128}, replicas=1)
            _outlast(lambda: len(kills) >= 4, 120)
            stop.set()
            killing.join()
            second = killable.wait_up_to_date("m", seconds=300)["revision"]
        assert load.failures == []
        assert load.answers > 20
    finally:
        stop.set()
        killing.join()
    assert second != first
    names = {deployment["metadata"]["name"] for deployment in killable.list("deployments")}
    assert names == {f"m-embed-{second}"}
    assert len(killable.list("services")) == 2
    print(f"killed {len(kills)} times")


def _outlast(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)
