"""The shared cache and the shared allowance, on a real Redis, in good times and bad."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from fixtures.redis_process import RedisProcess

from .server import EmbedServer, Prepared, serving, wait_until

TEXTS = [f"text number {number}" for number in range(20)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    process.start()
    yield process
    process.kill()


def embed(server: EmbedServer, texts: list[str]) -> np.ndarray:
    answer = httpx.post(f"{server.url}/embed", json={"inputs": texts}, timeout=30)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json(), dtype=np.float32)


def entries(redis: RedisProcess) -> list[bytes]:
    with redis.client() as client:
        return list(client.keys("eo:vector:*"))


def two(work: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        (work / name).mkdir()
    return work / "one", work / "two"


def test_what_one_server_computed_another_need_not(minilm: Prepared, redis: RedisProcess, tmp_path: Path) -> None:
    one, other = two(tmp_path)
    shared = {"redis_url": redis.url, "cache_ttl_seconds": 600}
    with serving(minilm, one, **shared) as first, serving(minilm, other, **shared) as second:
        computed = embed(first, TEXTS)
        wait_until(lambda: len(entries(redis)) == len(TEXTS))
        assert np.array_equal(embed(second, TEXTS), computed)
        assert second.metric("embedding_batch_size_count") == 0
        assert second.metric("embedding_cache_hit_rate") == 1
        assert np.array_equal(embed(first, TEXTS), computed)
        assert first.metric("embedding_batch_size_sum") == len(TEXTS)
    with redis.client() as client:
        assert 0 < client.ttl(entries(redis)[0]) <= 600


def test_an_entry_of_the_wrong_length_is_not_believed(minilm: Prepared, redis: RedisProcess, tmp_path: Path) -> None:
    one, other = two(tmp_path)
    shared = {"redis_url": redis.url, "cache_ttl_seconds": 600}
    with serving(minilm, one, **shared) as first:
        computed = embed(first, TEXTS)
        wait_until(lambda: len(entries(redis)) == len(TEXTS))
    with redis.client() as client:
        for key in entries(redis):
            client.set(key, b"not a vector")
    with serving(minilm, other, **shared) as second:
        assert np.allclose(embed(second, TEXTS), computed, atol=1e-5)
        assert second.metric("embedding_batch_size_sum") == len(TEXTS)


@pytest.mark.parametrize("outage", ["kill", "freeze"])
def test_an_outage_makes_it_slower_and_not_fail(minilm: Prepared, redis: RedisProcess, tmp_path: Path, outage: str) -> None:
    with serving(minilm, tmp_path, redis_url=redis.url, cache_ttl_seconds=600) as server:
        embed(server, TEXTS[:5])
        wait_until(lambda: server.metric("embedding_shared_cache_up") == 1)
        getattr(redis, outage)()
        for text in TEXTS:
            embed(server, [f"during the outage: {text}"])
        assert server.metric("embedding_shared_cache_up") == 0
        assert server.log().count("does not answer") == 1
        redis.thaw() if outage == "freeze" else redis.start()

        def recovered() -> bool:
            embed(server, ["once more"])
            embed(server, [f"new text {server.metric('embedding_texts_total')}"])
            return server.metric("embedding_shared_cache_up") == 1

        wait_until(recovered, server.log)
        assert "answers again" in server.log()


def test_a_redis_that_is_not_there_at_the_start_holds_nothing_up(minilm: Prepared, tmp_path: Path) -> None:
    absent = RedisProcess(tmp_path)
    with serving(minilm, tmp_path, redis_url=absent.url, cache_ttl_seconds=600) as server:
        assert embed(server, TEXTS).shape == (20, 384)


def test_an_allowance_counts_over_all_servers(minilm: Prepared, redis: RedisProcess, tmp_path: Path) -> None:
    one, other = two(tmp_path)
    limited = {"redis_url": redis.url, "requests_per_minute": 4}
    with serving(minilm, one, **limited) as first, serving(minilm, other, **limited) as second:
        for server in (first, second, first, second):
            embed(server, ["a"])
        for server in (first, second):
            answer = httpx.post(f"{server.url}/embed", json={"text": "a"})
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 15


def test_an_allowance_still_holds_while_redis_is_gone(minilm: Prepared, redis: RedisProcess, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, redis_url=redis.url, requests_per_minute=4) as server:
        redis.kill()
        codes = [httpx.post(f"{server.url}/embed", json={"text": "a"}).status_code for _ in range(6)]
        assert codes == [200] * 4 + [429] * 2
