"""Pods that die, hang or refuse: who still answers, and what the others are told."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.shard.shard_process import Operator

from .world import (
    Client,
    GatewayProcess,
    Generation,
    documents,
    gateway,
    generation,
    mount,
    route_of,
    serving,
    start,
    vectors,
)

V = vectors(4, seed=0).tolist()


@pytest.fixture
def copied(tmp_path: Path, operator: Operator) -> Iterator[tuple[GatewayProcess, Generation]]:
    """One shard, a writer and a follower that has everything."""
    made = generation(tmp_path, operator, copies=2)
    with serving(tmp_path, operator, made, timeout_seconds=2.0, write_timeout_seconds=20.0) as running:
        with Client(running) as client:
            client.put(documents(20))
        follower = made.copies[0][1]
        running.until(lambda: follower.info().documents == 20, "the follower has everything")
        yield running, made


def test_a_follower_answers_while_the_writer_is_gone(copied: tuple[GatewayProcess, Generation]) -> None:
    running, made = copied
    writer = made.copies[0][0]
    with Client(running) as client:
        writer.end(signal.SIGKILL)
        for _ in range(20):
            assert client.ids({"vector": V[0], "k": 1}) == ["d0000"]
        problem = client.post("/v1/search", {"vector": V[0], "consistency": "strong"}, 503, X_Timeout="0.5")
        assert problem["code"] == "shard_unavailable"
        assert "shard 0" in problem["detail"]
        writer.start()
        answer = client.post("/v1/documents", {"documents": [{"id": "later", "vector": V[1]}]})  # held until it is back
        assert "version" in answer["results"][0]
        assert client.get("/v1/documents/later?consistency=strong", X_Timeout="2")["id"] == "later"


def test_a_pod_that_hangs_is_left_alone_after_a_few_calls(copied: tuple[GatewayProcess, Generation]) -> None:
    running, made = copied
    follower = made.copies[0][1]
    assert follower.process is not None
    with Client(running) as client:
        follower.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(15):
                assert client.ids({"vector": V[0], "k": 1}) == ["d0000"]
            running.until(lambda: running.metric("gateway_breaker_open") == 1, "the breaker is open")
            begun = time.monotonic()
            while running.metric("gateway_breaker_open") and time.monotonic() - begun < 3:
                assert client.ids({"vector": V[0], "k": 1}) == ["d0000"]
        finally:
            follower.process.send_signal(signal.SIGCONT)

        def closed() -> bool:
            client.ids({"vector": V[0], "k": 1})
            return running.metric("gateway_breaker_open") == 0

        running.until(closed, "the breaker is closed again")


def test_a_write_is_held_while_the_shard_is_fenced(copied: tuple[GatewayProcess, Generation]) -> None:
    running, made = copied
    writer = made.copies[0][0]
    assert writer.tell("fence", epoch=2, deadline_seconds=60).status_code == 200
    answers: list[Any] = []
    with Client(running) as client:
        write = threading.Thread(target=lambda: answers.extend(client.put([{"id": "held", "vector": V[2]}])))
        write.start()
        running.until(lambda: running.metric("gateway_held_writes") == 1, "the write is held")
        with Client(running) as other:
            assert other.ids({"vector": V[0], "k": 1, "consistency": "strong"}) == ["d0000"]
        assert not answers
        assert writer.tell("unfence", epoch=3).status_code == 200
        write.join(30)
        assert answers[0]["id"] == "held"
        assert running.metric("gateway_held_writes") == 0


def test_a_write_that_is_held_for_too_long_is_told_so(copied: tuple[GatewayProcess, Generation]) -> None:
    running, made = copied
    made.copies[0][0].tell("fence", epoch=2, deadline_seconds=60)
    with Client(running) as client:
        body = {"documents": [{"id": "held", "vector": V[2]}]}
        problem = client.post("/v1/documents", body, 503, X_Timeout="2")
        assert (problem["code"], "shard 0" in problem["detail"], "fenced" in problem["detail"]) == (
            "shard_unavailable",
            True,
            True,
        )


@pytest.mark.parametrize("allowed", [True, False])
def test_partial_answers_are_given_by_the_spec_alone_and_declared(tmp_path: Path, operator: Operator, allowed: bool) -> None:
    made = generation(tmp_path, operator, shards=2)
    with serving(tmp_path, operator, made, partial_results=allowed, timeout_seconds=1.0) as running, Client(running) as client:
        client.put(documents(20))
        made.copies[1][0].end(signal.SIGKILL)
        if not allowed:
            problem = client.post("/v1/search", {"vector": V[0]}, 503)
            assert problem["code"] == "shard_unavailable"
            assert "shard 1" in problem["detail"]
            return
        answer = client.post("/v1/search", {"vector": V[0], "k": 20})
        assert answer["shards"] == {"total": 2, "ok": 1, "failed": 1}
        assert 0 < len(answer["hits"]) < 20
        assert client.post("/v1/search", {"vector": V[0], "partial": False}, 503)["code"] == "shard_unavailable"
        results = client.post("/v1/documents", {"documents": documents(10)}, X_Timeout="0.5")["results"]
        codes = {result.get("error", {}).get("code") for result in results}
        assert codes == {None, "shard_unavailable"}


def test_a_shard_that_has_moved_names_the_generation_that_answers(tmp_path: Path, operator: Operator) -> None:
    """Blue is retired with the new route, which nobody has told the gateway."""
    blue = generation(tmp_path, operator)
    green = generation(tmp_path, operator, number=2, shards=2, dimensions=8, fingerprint="client-8-cosine")
    query = vectors(1, seed=3, dimensions=8)[0].tolist()
    try:
        start(green, epoch=2)
        with serving(tmp_path, operator, blue) as running, Client(running) as client:
            client.put([{"id": "old", "vector": V[0]}])
            route = route_of(blue, green, writer=2, seq=5, epoch=2)
            pod = blue.copies[0][0]
            answer = pod.tell("retire", epoch=2, route=route.model_dump(mode="json"))
            assert answer.status_code == 200, answer.text
            problem = client.post("/v1/search", {"vector": V[0]}, 400)
            assert problem["code"] == "wrong_dimension"  # asked under the new route from its beginning
            assert client.get("/v1/info")["generation"] == 2
            client.put([{"id": "new", "vector": query}])
            assert client.ids({"vector": query, "consistency": "strong"}) == ["new"]
    finally:
        for pod in green.all:
            pod.stop()


def test_only_a_newer_route_is_taken_and_only_from_the_operator(tmp_path: Path, operator: Operator) -> None:
    made = generation(tmp_path, operator)
    with serving(tmp_path, operator, made) as running, Client(running) as client:
        assert client.get("/v1/info")["seq"] == 1
        newer = route_of(made, seq=4)
        for token in ("", "nonsense", Operator().token(running.settings.pod), operator.token("docs-search-1")):
            assert running.push(newer, token).status_code == 401
        assert client.get("/v1/info")["seq"] == 1
        assert running.push(newer).json()["seq"] == 4
        assert running.push(route_of(made, seq=3)).json()["seq"] == 4
        assert running.push(newer.model_copy(update={"index": "other"})).json()["code"] == "wrong_index"
        assert running.push(newer.model_copy(update={"seq": 9, "writer": 7})).status_code == 400
        assert client.get("/v1/info")["seq"] == 4
        mount(running, route_of(made, seq=6))
        running.until(lambda: client.get("/v1/info")["seq"] == 6, "the mounted route is taken")
        (Path(running.settings.route_dir) / "route.json").write_text("{not a route")
        client.put([{"id": "a", "vector": V[0]}])


def test_a_gateway_that_knows_no_route_says_so_and_waits(tmp_path: Path, operator: Operator) -> None:
    made = generation(tmp_path, operator)
    running = gateway(tmp_path / "gateway", operator)
    try:
        running.start()
        with Client(running) as client:
            problem = client.post("/v1/search", {"vector": V[0]}, 503)
            assert problem["code"] == "route_unavailable"
            assert client.get("/readyz", 503)["status"] == "the route is not known yet"
            start(made)
            mount(running, route_of(made))
            running.await_ready()
            client.put([{"id": "a", "vector": V[0]}])
    finally:
        running.kill()
        for pod in made.all:
            pod.stop()


def test_the_fallback_answers_while_the_first_index_cannot(tmp_path: Path, operator: Operator) -> None:
    first = generation(tmp_path / "first", operator)
    second = generation(tmp_path / "second", operator, index="archive")
    for made in (first, second):
        (made.all[0].work).mkdir(parents=True, exist_ok=True)
    other = tmp_path / "other"
    other.mkdir()
    other_route = route_of(second).model_copy(update={"index": "archive"})
    (other / "route.json").write_text(other_route.model_dump_json())
    try:
        start(second)
        changes: dict[str, Any] = {"fallback_index": "archive", "fallback_route_dir": str(other), "timeout_seconds": 2.0}
        with serving(tmp_path, operator, first, **changes) as running, Client(running) as client:
            client.put([{"id": "first", "vector": V[0]}])
            with Client(running) as seeding:
                assert seeding.post("/v1/search", {"vector": V[0]})["hits"][0]["id"] == "first"
            first.all[0].end(signal.SIGKILL)
            answer = client.post("/v1/search", {"vector": V[0]})
            assert (answer["fallback"], answer["index"], answer["hits"]) == (True, "archive", [])
            assert client.post("/v1/count", {}, 503)["code"] == "shard_unavailable"
    finally:
        for pod in second.all:
            pod.stop()
