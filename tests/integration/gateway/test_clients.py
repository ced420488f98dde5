"""Who asks and how much: API keys, allowances, the cache, the end of a pod."""

import hashlib
import json
import secrets
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fixtures.redis_process import RedisProcess
from integration.shard.shard_process import Operator

from .world import Client, GatewayProcess, Generation, gateway, generation, mount, route_of, start, vectors

V = vectors(4, seed=0).tolist()
SEARCH = {"vector": V[0]}
DOCUMENTS = {"documents": [{"id": "a", "vector": V[0]}]}


@pytest.fixture(scope="module")
def shards(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generation]:
    made = generation(tmp_path_factory.mktemp("shards"), operator)
    try:
        start(made)
        yield made
    finally:
        for pod in made.all:
            pod.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


class Gateways:
    """Gateways in front of the same shards. All killed at the end."""

    def __init__(self, work: Path, operator: Operator, shards: Generation) -> None:
        self._work, self._operator, self._shards = work, operator, shards
        self.made: list[GatewayProcess] = []

    def __call__(self, *, redis: RedisProcess | None = None, **changes: Any) -> GatewayProcess:
        env = {"EO_REDIS_URL": redis.url} if redis else {}
        one = gateway(self._work / f"gateway-{len(self.made)}", self._operator, extra_env=env, **changes)
        mount(one, route_of(self._shards))
        self.made.append(one)
        one.start()
        return one.await_ready()


@pytest.fixture
def gateways(tmp_path: Path, operator: Operator, shards: Generation) -> Iterator[Gateways]:
    made = Gateways(tmp_path, operator, shards)
    yield made
    for one in made.made:
        one.kill()


def add_key(directory: Path, key_id: str, role: str, **members: str) -> str:
    directory.mkdir(exist_ok=True)
    key = f"eo_{key_id}_{secrets.token_urlsafe(32)}"
    (directory / key_id).write_text(json.dumps({"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role} | members))
    return key


def status(made: GatewayProcess, key: str | None, method: str, path: str, body: Any = None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return httpx.request(method, made.url + path, json=body, headers=headers, timeout=30).status_code


def test_each_role_may_do_its_part(gateways: Gateways, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = {role: add_key(keys, f"{role.lower()}_er-1", role) for role in ("Read", "Write", "Admin")}
    running = gateways(keys_dir=str(keys))
    may = {
        "Read": (200, 403, 403), "Write": (200, 200, 403), "Admin": (200, 200, 200),
    }  # fmt: skip
    for role, (search, write, stats) in may.items():
        assert status(running, made[role], "POST", "/v1/search", SEARCH) == search
        assert status(running, made[role], "POST", "/v1/documents", DOCUMENTS) == write
        assert status(running, made[role], "GET", "/stats") == stats
    with Client(running, made["Read"]) as client:
        problem = client.post("/v1/documents", DOCUMENTS, 403)
        assert (problem["code"], "needs Write" in problem["detail"]) == ("forbidden", True)
    assert not any(key in running.log_path.read_text() for key in made.values())


def test_nobody_gets_in_without_a_known_key(gateways: Gateways, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    good = add_key(keys, "good", "Admin")
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    expired = add_key(keys, "expired", "Admin", notAfter=past)
    future = add_key(keys, "future", "Read", notAfter=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    broken = add_key(keys, "broken", "Owner")
    running = gateways(keys_dir=str(keys))
    wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
    for key in (None, "eo_", wrong, expired, broken, good.replace("good", "other"), good.replace("good", "../good")):
        assert status(running, key, "POST", "/v1/search", SEARCH) == 401
    for key in (good, future):
        assert status(running, key, "POST", "/v1/search", SEARCH) == 200
    for path in ("/v1/info", "/stats", "/metrics"):
        assert status(running, None, "GET", path) == 401
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert status(running, None, "GET", path) == 200


def test_keys_are_rotated_without_a_restart(gateways: Gateways, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    old = add_key(keys, "old", "Read")
    running = gateways(keys_dir=str(keys))
    new = add_key(keys, "new", "Read")
    running.until(lambda: status(running, new, "POST", "/v1/search", SEARCH) == 200, "the new key is known")
    assert status(running, old, "POST", "/v1/search", SEARCH) == 200
    (keys / "old").unlink()
    running.until(lambda: status(running, old, "POST", "/v1/search", SEARCH) == 401, "the old key is forgotten")


def test_an_allowance_is_a_clients_own_and_counts_over_gateways(
    gateways: Gateways, tmp_path: Path, redis: RedisProcess
) -> None:
    keys = tmp_path / "keys"
    one, other = add_key(keys, "one", "Read"), add_key(keys, "other", "Read")
    limited: dict[str, Any] = {"keys_dir": str(keys), "requests_per_minute": 60, "burst": 4, "redis": redis}
    first, second = gateways(**limited), gateways(**limited)
    codes = [status(made, one, "POST", "/v1/search", SEARCH) for made in (first, second, first, second, first, second)]
    assert codes[:4] == [200] * 4
    assert 429 in codes[4:]
    assert status(first, other, "POST", "/v1/search", SEARCH) == 200


@pytest.mark.parametrize(("deny", "expected"), [(False, 200), (True, 503)])
def test_without_redis_requests_pass_or_not_as_the_spec_says(
    gateways: Gateways, redis: RedisProcess, deny: bool, expected: int
) -> None:
    running = gateways(redis=redis, requests_per_minute=1_000, deny_without_redis=deny)
    assert status(running, None, "POST", "/v1/search", SEARCH) == 200
    redis.kill()
    assert status(running, None, "POST", "/v1/search", SEARCH) == expected


def cached(made: GatewayProcess, body: Any = SEARCH) -> tuple[str, Any]:
    answer = httpx.post(f"{made.url}/v1/search", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-cache", "none"), answer.json()


def test_an_answer_is_remembered_until_something_is_written(gateways: Gateways) -> None:
    running = gateways(cache_ttl_seconds=600)
    with Client(running) as client:
        client.put([{"id": "a", "vector": V[0], "text": "old"}])
        body = SEARCH | {"k": 1}
        assert cached(running, body)[0] == "miss"
        kind, answer = cached(running, body)
        assert (kind, answer["hits"][0]["text"], "took_ms" in answer) == ("hit", "old", True)
        client.put([{"id": "a", "vector": V[0], "text": "new"}])
        kind, answer = cached(running, body)
        assert (kind, answer["hits"][0]["text"]) == ("miss", "new")
        assert cached(running, body | {"consistency": "strong"})[0] == "none"


def test_what_another_gateway_wrote_is_seen_soon(gateways: Gateways) -> None:
    one, other = gateways(cache_ttl_seconds=600), gateways(cache_ttl_seconds=600)
    body = {"vector": V[1], "k": 1}
    cached(one, body)
    with Client(other) as client:
        client.put([{"id": "elsewhere", "vector": V[1]}])
    one.until(lambda: cached(one, body)[1]["hits"][0]["id"] == "elsewhere", "the write is seen")


def test_gateways_share_answers_through_redis(gateways: Gateways, redis: RedisProcess) -> None:
    one, other = (gateways(cache_ttl_seconds=600, redis=redis) for _ in range(2))
    body = {"vector": V[2], "k": 2}
    cached(one, body)
    one.until(lambda: cached(other, body)[0] == "hit", "the other gateway finds it")
    redis.kill()
    assert cached(one, {"vector": V[3]})[0] == "miss"


def test_a_gateway_that_is_told_to_stop_finishes_what_runs(gateways: Gateways) -> None:
    """It says so on every connection, and still takes the ones of clients whose Service has not heard of it."""
    running = gateways(drain_seconds=3.0)
    statuses: list[int] = []
    closed = 0

    def ask() -> None:
        nonlocal closed
        with httpx.Client(base_url=running.url, timeout=30) as http:
            while closed < 3:
                answer = http.post("/v1/search", json=SEARCH)
                statuses.append(answer.status_code)
                closed += answer.headers.get("connection") == "close"

    asking = threading.Thread(target=ask)
    asking.start()
    running.until(lambda: len(statuses) > 20, "searches are answered")
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    asking.join()
    assert closed == 3
    assert set(statuses) == {200}


def test_settings_that_cannot_be_read_are_named(tmp_path: Path, operator: Operator) -> None:
    running = gateway(tmp_path, operator, admin_public_keys=("bm90IGEga2V5",))
    running.start()
    assert running.process is not None
    assert running.process.wait(30) == 1
    assert "admin_public_keys" in (tmp_path / "report").read_text()
