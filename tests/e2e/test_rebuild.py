"""A new generation takes over on a real cluster, and is left again, while clients write, read and search."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest

from cluster import Capability, Cluster
from corpus import documents
from embedding_serving.contract.route import Phase
from fixtures import models
from fixtures.hub import Hub
from fixtures.installation import SYSTEM
from fixtures.pod_processes import process_of
from fixtures.rebuild_faults import GATEWAYS, ONLY_ONE, Fault, all_answer, all_faults, target
from fixtures.rebuilds import LITTLE, Rebuilds, Traffic, load
from fixtures.space import Space

SEED = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
SEEDED = 300
IN_TIME = 60.0


@pytest.fixture(scope="module")
def other_model(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """MiniLM with its dimensions in another order: as good, and nothing that the one makes can be compared with the other's."""
    revision = hub.add("t/rotated", models.derived_minilm(tmp_path_factory.mktemp("models") / "rotated", rotate=1))
    return {"source": {"huggingFace": {"repo": "t/rotated", "revision": revision}}}


@pytest.fixture(scope="module")
def docs(shared_space: Space, cluster: Cluster, minilm_source: dict[str, object], other_model: dict[str, object]) -> Rebuilds:
    """Two shards with documents, two gateways, and the two models that the tests change between."""
    if not {Capability.KILL_PROCESSES, Capability.POD_NETWORK} <= cluster.capabilities:
        pytest.skip("this cluster's pods can't be reached or killed from here")
    print(f"seed {SEED}")
    shared_space.apply_model("one", model={"source": minilm_source}, **LITTLE)
    shared_space.apply_model("other", model=other_model, **LITTLE)
    shared_space.apply_index("docs", modelRef={"name": "one"}, shards=2, **LITTLE)
    shared_space.apply_search("docs", "docs", replicas=GATEWAYS, timeoutMilliseconds=10_000, **LITTLE)
    for kind, name in (("vectorindex", "docs"), ("searchservice", "docs"), ("embeddingmodel", "other")):
        shared_space.wait_up_to_date(name, kind=kind, seconds=240)
    _seed(shared_space)
    return Rebuilds(shared_space)


def _seed(space: Space) -> None:
    texts = [{"id": one.id, "text": one.text} for one in documents(limit=SEEDED)]
    with (
        space.cluster.port_forward("service/docs-search", 8080, namespace=space.name) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http,
    ):
        for start in range(0, SEEDED, 100):
            answer = http.post("/v1/documents", json={"documents": texts[start : start + 100]})
            assert answer.status_code == 200, answer.text


def _nothing_failed(traffic: Traffic) -> None:
    counts = traffic.ledger.counts
    assert counts.failed_searches == 0, traffic.ledger.failures[:5]
    assert counts.failed_reads == 0, traffic.ledger.failures[:5]


async def test_another_model_takes_over_while_clients_write_and_search(docs: Rebuilds) -> None:
    before = docs.route.writer
    async with load(docs, SEED) as traffic:
        await traffic.acknowledged(50)
        await asyncio.to_thread(docs.change, modelRef={"name": "other"})
        route = await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING)
        await traffic.acknowledged(50)
        traffic.told("another model")
    _nothing_failed(traffic)
    assert (route.writer, route.other) == (before + 1, before)
    assert route.active.model == "other"
    assert len(docs.volumes()) == 4
    docs.wait_equal()
    docs.wait_rollback_available()
    assert docs.space.condition("docs", "UpToDate", "vectorindex")["status"] == "True"
    print(json.dumps(docs.status.get("rollback")))


async def test_the_way_back_and_forth_by_annotation_and_by_the_spec(docs: Rebuilds) -> None:
    docs.wait_phase(Phase.OBSERVING)
    new, old = docs.route.writer, docs.route.other
    async with load(docs, SEED + 1) as traffic:
        await traffic.acknowledged(30)
        await asyncio.to_thread(docs.wait_rollback_available)
        await asyncio.to_thread(docs.roll_back)
        await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=old, seconds=IN_TIME)
        await traffic.acknowledged(30)
        traffic.told("rollback by annotation")
        await asyncio.to_thread(docs.condition, "UpToDate", "RolledBack", f"retry={new}")
        await asyncio.to_thread(docs.annotate, retry=str(new))
        await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=new, seconds=IN_TIME)
        await traffic.acknowledged(30)
        traffic.told("forward again")
        await asyncio.to_thread(docs.change, modelRef={"name": "one"})
        await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=old, seconds=IN_TIME)
        await traffic.acknowledged(30)
        traffic.told("rollback by the spec")
    _nothing_failed(traffic)
    docs.wait_equal()
    docs.space.wait_condition("docs", "UpToDate", "True", "UpToDate", kind="vectorindex")
    assert docs.route.next_generation == 3


async def test_a_gateway_that_the_operator_cannot_reach_answers_rightly(docs: Rebuilds, cluster: Cluster) -> None:
    """Nobody tells it of the switch but the shards that it asks."""
    docs.wait_phase(Phase.OBSERVING)
    docs.wait_rollback_available()
    cut, old = docs.gateways()[0]["metadata"]["name"], docs.route.other
    async with load(docs, SEED + 2, only=lambda pod: pod["metadata"]["name"] == cut) as traffic:
        with _cut_off(docs, cluster, cut) as dropped:
            await traffic.acknowledged(30)
            await asyncio.to_thread(docs.roll_back)
            await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=old, seconds=IN_TIME)
            await traffic.acknowledged(30)
            traffic.told("rollback behind a cut-off gateway")
            assert dropped() > 0
    _nothing_failed(traffic)


@contextlib.contextmanager
def _cut_off(docs: Rebuilds, cluster: Cluster, gateway: str) -> Iterator[Callable[[], int]]:
    """No packet of an operator comes in at the gateway; answers how many were dropped."""
    listed = json.loads(
        cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json")
    )
    sources = ",".join(pod["status"]["podIP"] for pod in listed["items"])
    inside = ["nsenter", "--net", "--target", str(process_of(gateway, docs.space.name)), "iptables"]

    def dropped() -> int:
        shown = subprocess.run([*inside, "-nvxL", "INPUT"], check=True, capture_output=True, text=True).stdout
        return sum(int(line.split()[0]) for line in shown.splitlines() if " DROP " in line)

    subprocess.run([*inside, "-I", "INPUT", "-s", sources, "-j", "DROP"], check=True)
    try:
        yield dropped
    finally:
        subprocess.run([*inside, "-D", "INPUT", "-s", sources, "-j", "DROP"], check=True)


async def test_whatever_dies_at_whatever_moment_nothing_acknowledged_is_lost(docs: Rebuilds) -> None:
    """Three of the faults in `make test`; FAULTS=long: all of them."""
    draw = random.Random(SEED)
    faults = all_faults() if os.environ.get("FAULTS") == "long" else sorted(draw.sample(all_faults(), 3), key=str)
    for number, fault in enumerate(faults):
        print(f"{fault} …")
        await _suffers(docs, fault, SEED + 10 + number, draw)


async def _suffers(docs: Rebuilds, fault: Fault, seed: int, draw: random.Random) -> None:
    """A rebuild, or a rollback where that comes to the boundary: it ends well, and clients lose nothing."""
    route = await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING)
    in_rebuild = fault.boundary in (Phase.BUILDING, Phase.COLLECTING)
    await asyncio.to_thread(docs.wait_rollback_available)
    async with load(docs, seed) as traffic:
        await traffic.acknowledged(20)
        dies = await asyncio.to_thread(target, docs, fault.victim, draw)
        reached = asyncio.create_task(traffic.phases.reached(fault.boundary))
        await asyncio.sleep(0)
        if in_rebuild:
            await asyncio.to_thread(docs.annotate, rebuild=f"{seed}")
        else:
            await asyncio.to_thread(docs.roll_back)
        await reached
        dies.die()
        await asyncio.to_thread(dies.replace)
        if in_rebuild:
            await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=route.next_generation, seconds=180)
        else:
            await asyncio.to_thread(docs.wait_phase, Phase.OBSERVING, writer=route.other, seconds=2 * IN_TIME)
        await traffic.acknowledged(20)
        await asyncio.to_thread(docs.space.wait_for, "every pod to answer", lambda: all_answer(docs), 120)
        traffic.told(str(fault))
    if fault.victim not in ONLY_ONE:
        _nothing_failed(traffic)


async def test_more_shards_and_fewer(docs: Rebuilds) -> None:
    before = docs.route.active.shards
    at_once = {"rollbackWindowSeconds": 0, "prePromotionAnalysis": {"minRecallPercent": 0}}
    await asyncio.to_thread(docs.change, rebuild=at_once)
    await asyncio.to_thread(docs.wait_phase, Phase.STABLE)
    async with load(docs, SEED + 3) as traffic:
        for shards in (before + 1, before):
            number = docs.route.next_generation
            await asyncio.to_thread(docs.change, shards=shards)
            await asyncio.to_thread(docs.wait_phase, Phase.STABLE, writer=number, seconds=180)
            await traffic.acknowledged(20)
            traffic.told(f"{shards} shards")
            assert docs.route.active.shards == shards
            await asyncio.to_thread(docs.wait_volumes, {f"data-docs-g{number}-s{shard}-0" for shard in range(shards)})
    _nothing_failed(traffic)


# --- what cannot be done says so, and the generation that serves goes on ---


@pytest.fixture(scope="module")
def odd_models(docs: Rebuilds, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One of 32 dimensions, one whose weights are not read, and a re-ranker."""
    root = tmp_path_factory.mktemp("odd")
    made = {
        "small": models.tiny_model(root / "small"),
        "pickled": models.pickle_only_model(root / "pickled"),
        "reranker": models.tiny_model(root / "reranker", reranker=True),
    }
    for name, directory in made.items():
        revision = hub.add(f"t/{name}", directory)
        task = {"task": "Rerank"} if name == "reranker" else {}
        docs.space.apply_model(
            name, model={"source": {"huggingFace": {"repo": f"t/{name}", "revision": revision}}, **task}, **LITTLE
        )


def _serves(docs: Rebuilds, generation: int) -> None:
    """Reads and writes, from that generation."""
    assert docs.route.writer == generation
    for type_ in ("Ready", "Writable"):
        docs.space.wait_condition("docs", type_, "True", kind="vectorindex", seconds=30)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("pickled", ("pickled", "safetensors")),
        ("reranker", ("reranker", "re-ranker", "spec.modelRef")),
        ("none", ("none", "apply it")),
    ],
)
def test_a_model_that_makes_no_vectors_begins_nothing(
    docs: Rebuilds, odd_models: None, model: str, words: tuple[str, ...]
) -> None:
    before = docs.wait_phase(Phase.STABLE, Phase.OBSERVING)
    docs.change(modelRef={"name": model})
    docs.condition("UpToDate", "WaitingForModel", *words)
    _serves(docs, before.writer)
    assert docs.route.next_generation == before.next_generation
    docs.change(modelRef={"name": before.active.model})
    docs.space.wait_condition("docs", "UpToDate", "True", kind="vectorindex")


def test_a_model_of_another_dimension_is_built_beside_and_can_be_given_up(docs: Rebuilds, odd_models: None) -> None:
    before = docs.wait_phase(Phase.STABLE, Phase.OBSERVING)
    docs.space.wait_up_to_date("small", seconds=180)
    docs.change(modelRef={"name": "small"}, rebuild={"autoPromotionEnabled": False, "rollbackWindowSeconds": 0})
    number = before.next_generation
    docs.condition("UpToDate", "AwaitingPromotion", f"promote={number}", seconds=180)
    _serves(docs, before.writer)
    assert {one.generation: one.dimensions for one in docs.route.generations} == {before.writer: 384, number: 32}
    docs.annotate(abort=str(number))
    docs.condition("UpToDate", "Aborted", f"retry={number}")
    docs.wait_phase(Phase.STABLE)
    docs.wait_volumes({f"data-docs-g{before.writer}-s{shard}-0" for shard in range(before.active.shards)})
    _serves(docs, before.writer)
    docs.change(modelRef={"name": before.active.model}, rebuild={"autoPromotionEnabled": True})


def test_volumes_that_cannot_be_had_are_named_and_the_spec_can_go_back(docs: Rebuilds) -> None:
    """A class that does not exist begins nothing; one that has no volumes is waited for."""
    before = docs.wait_phase(Phase.STABLE, Phase.OBSERVING)
    docs.change(storage={"storageClassName": "no-such-class"})
    docs.condition("UpToDate", "InsufficientResources", "spec.storage.storageClassName", "no-such-class", seconds=120)
    assert docs.route.next_generation == before.next_generation
    empty = f"{docs.space.name}-empty"
    made = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}
    docs.space.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": empty}, **made})
    try:
        docs.change(storage={"storageClassName": empty})
        docs.condition("UpToDate", "Rebuilding", "PersistentVolumeClaim data-docs", "has no volume", "kubectl describe pvc")
    finally:
        docs.space.kubectl("delete", "storageclass", empty)
    _serves(docs, before.writer)
    docs.change(storage={"storageClassName": None})
    docs.wait_phase(Phase.STABLE)
    docs.space.wait_condition("docs", "UpToDate", "True", kind="vectorindex")
    docs.wait_volumes({f"data-docs-g{before.writer}-s{shard}-0" for shard in range(before.active.shards)})


def test_golden_queries_with_unknown_ids_decide_nothing(docs: Rebuilds) -> None:
    """And a route that is deleted in the middle of it is made again, with the same generation serving."""
    before = docs.wait_phase(Phase.STABLE, Phase.OBSERVING)
    lines = json.dumps({"query": "an archive", "ids": ["no-such-document"]})
    docs.space.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "golden"}, "data": {"queries.jsonl": lines}}
    )
    golden = {"configMapRef": {"name": "golden"}}
    docs.change(rebuild={"prePromotionAnalysis": {"goldenQueries": golden}})
    docs.annotate(rebuild="golden")
    docs.condition("Stalled", "GoldenQueriesUnusable", "golden", "no-such-document", "line 1", seconds=180)
    _serves(docs, before.writer)
    docs.space.kubectl("delete", "configmap", "docs-route")
    docs.wait_phase(Phase.BUILDING, writer=before.writer)
    docs.change(rebuild={"prePromotionAnalysis": {"goldenQueries": None}})
    docs.wait_phase(Phase.STABLE, Phase.OBSERVING, writer=before.next_generation, seconds=180)
    _serves(docs, before.next_generation)
    docs.wait_heard(before.next_generation)


def test_annotations_that_name_nothing_change_nothing(docs: Rebuilds) -> None:
    """The window is over, and there is no generation to promote."""
    docs.change(rebuild={"rollbackWindowSeconds": 0})
    before = docs.wait_phase(Phase.STABLE)
    docs.annotate(rollback=str(before.writer), promote="77", abort="77", retry="77")
    docs.condition("RollbackAvailable", "NoFormerGeneration", "nothing to go back to")
    docs.change(replicas=1, fields=[{"name": "step", "type": "Keyword"}])
    docs.space.wait_condition("docs", "UpToDate", "True", kind="vectorindex")
    assert docs.route.model_copy(update={"seq": 0}).active == before.active
    _serves(docs, before.writer)
