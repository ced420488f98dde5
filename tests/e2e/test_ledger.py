"""A client that knows only acknowledgements, while shards, gateways and the operator die on a real cluster."""

import asyncio
import os
import random
from collections.abc import Callable

import httpx
import pytest

from cluster import Capability, Cluster, ClusterError
from fixtures.installation import OPERATOR, SYSTEM
from fixtures.ledger import DIMENSIONS, Ledger
from fixtures.ledger_http import HttpApi, session
from fixtures.pod_processes import kill
from fixtures.rebuilds import is_ready
from fixtures.space import Space

KILLS = 30
MOST_SECONDS_BETWEEN = 1.5
COPIES = [f"docs-g1-s{shard}-{copy}" for shard in range(2) for copy in range(2)]
GATEWAYS = 2


@pytest.fixture
def searched(space: Space, cluster: Cluster) -> Space:
    if not {Capability.KILL_PROCESSES, Capability.POD_NETWORK} <= cluster.capabilities:
        pytest.skip("this cluster's processes can't be killed from here")
    space.apply_index("docs", dimensions=DIMENSIONS, shards=2, replicas=2, acknowledge="Follower")
    space.apply_search("docs", "docs", replicas=GATEWAYS, timeoutMilliseconds=5000)
    space.wait_up_to_date("docs", kind="vectorindex")
    space.wait_up_to_date("docs", kind="searchservice")
    return space


def test_nothing_acknowledged_is_lost_while_everything_dies(searched: Space, cluster: Cluster) -> None:
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    ledger = asyncio.run(_through(searched, cluster, seed))
    print(ledger.counts)
    assert ledger.counts.acknowledged > 100
    assert ledger.counts.failed_searches == 0, ledger.failures[:5]


async def _through(space: Space, cluster: Cluster, seed: int) -> Ledger:
    urls: list[str] = []
    async with session() as http:
        ledger = Ledger(HttpApi(http, lambda: urls), seed)
        following = asyncio.create_task(_follow_gateways(space, urls))
        while not urls:  # noqa: ASYNC110 - filled by another task
            await asyncio.sleep(0.1)
        running = asyncio.create_task(ledger.run())
        try:
            await _kill_all_kinds(space, cluster, random.Random(seed), running, urls)
            await asyncio.to_thread(_lose_a_volume, space)
            ledger.stop()
            await running
            await asyncio.to_thread(space.wait_condition, "docs", "Writable", "True", None, 120, "vectorindex")
            print(f"{await ledger.verify()} documents as acknowledged")
        finally:
            running.cancel()
            following.cancel()
    return ledger


async def _follow_gateways(space: Space, urls: list[str]) -> None:
    """What the Service does: the gateways that are ready."""
    while True:
        try:
            pods = await asyncio.to_thread(space.list, "pods", "embedding-operator.io/searchservice=docs")
        except ClusterError:
            pods = []
        found = [f"http://{pod['status']['podIP']}:8080" for pod in pods if is_ready(pod)]
        urls[:] = found or urls
        await asyncio.sleep(0.5)


async def _kill_all_kinds(
    space: Space, cluster: Cluster, draw: random.Random, running: "asyncio.Task[None]", urls: list[str]
) -> None:
    """One death at a time: the next comes when all copies and gateways answer, and clients know of both gateways."""
    killed: dict[str, int] = {}
    while sum(killed.values()) < KILLS:
        await asyncio.sleep(draw.uniform(0.2, MOST_SECONDS_BETWEEN))
        if running.done():
            await running
        victim = draw.choice([*COPIES, "gateway", "operator"])
        pod, namespace = await asyncio.to_thread(_pod_of, space, cluster, victim, draw)
        try:
            await asyncio.to_thread(_die, cluster, pod, namespace)
        except (AssertionError, ProcessLookupError):
            continue
        killed[victim] = killed.get(victim, 0) + 1
        await _until(lambda: len(urls) == GATEWAYS and _all_serve(space), 120)
    print(f"killed {killed}")


def _die(cluster: Cluster, pod: str, namespace: str | None) -> None:
    """By SIGKILL. A pod that died before is replaced as well: the kubelet would wait longer each time to restart it."""
    path = "jsonpath={.status.containerStatuses[0].restartCount}"
    where = namespace or SYSTEM
    died = cluster.kubectl("-n", where, "get", "pod", pod, "-o", path, check=False).strip()
    kill(pod, namespace=namespace)
    if died not in ("", "0"):
        cluster.kubectl("-n", where, "delete", "pod", pod, "--grace-period=0", "--force", "--wait=false", check=False)


def _pod_of(space: Space, cluster: Cluster, victim: str, draw: random.Random) -> tuple[str, str | None]:
    if victim == "operator":
        lease = cluster.kubectl("-n", SYSTEM, "get", "lease", OPERATOR, "-o", "jsonpath={.spec.holderIdentity}", check=False)
        return lease.strip(), None
    if victim == "gateway":
        pods = space.list("pods", "embedding-operator.io/searchservice=docs")
        return str(draw.choice(pods)["metadata"]["name"]), space.name
    return victim, space.name


def _all_serve(space: Space) -> bool:
    """Every copy and gateway is there and ready again, by its own word: the kubelet's may be seconds old."""
    pods = space.list("pods", "app.kubernetes.io/managed-by=embedding-operator")
    if len(pods) < len(COPIES) + GATEWAYS:  # one was replaced, and the next is not made yet
        return False
    for pod in pods:
        try:
            answer = httpx.get(f"http://{pod['status']['podIP']}:8081/readyz", timeout=2)
        except (httpx.HTTPError, KeyError):
            return False
        if answer.status_code != 200:
            return False
    return True


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - the world tells nobody
            await asyncio.sleep(0.2)


def _lose_a_volume(space: Space) -> None:
    """The writer's, with a follower left: it is filled from there and opened again, without anybody."""
    before = (space.get("pvc", "data-docs-g1-s0-0") or {})["metadata"]["uid"]
    space.kubectl("delete", "pvc", "data-docs-g1-s0-0", "--wait=false")
    space.kubectl("delete", "pod", "docs-g1-s0-0", "--wait=true")
    space.wait_for(
        "another volume",
        lambda: (space.get("pvc", "data-docs-g1-s0-0") or {}).get("metadata", {}).get("uid", before) != before,
        90,
    )
    space.wait_condition("docs", "Writable", "True", seconds=180, kind="vectorindex")
