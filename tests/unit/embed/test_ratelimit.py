import pytest

from embedding_serving.http.ratelimit import AboveRateLimit, RateLimited, RateLimiter, client_id


def limiter(requests: int | None = None, tokens: int | None = None) -> RateLimiter:
    return RateLimiter(requests_per_minute=requests, tokens_per_minute=tokens, namespace="m", shared=None)


async def test_a_minutes_allowance_may_be_used_at_once_and_no_more() -> None:
    limit = limiter(requests=3)
    for _ in range(3):
        await limit.charge("me", "requests", 1)
    with pytest.raises(RateLimited) as refused:
        await limit.charge("me", "requests", 1)
    assert (refused.value.unit, refused.value.limit_per_minute) == ("requests", 3)
    assert 1 <= refused.value.retry_after_seconds <= 20


async def test_one_clients_use_is_not_anothers() -> None:
    limit = limiter(tokens=100)
    await limit.charge("me", "tokens", 100)
    await limit.charge("you", "tokens", 100)


async def test_a_refused_request_costs_nothing() -> None:
    limit = limiter(tokens=100)
    await limit.charge("me", "tokens", 60)
    with pytest.raises(RateLimited):
        await limit.charge("me", "tokens", 60)
    await limit.charge("me", "tokens", 40)


async def test_what_is_given_back_can_be_used_again() -> None:
    limit = limiter(tokens=100)
    await limit.charge("me", "tokens", 100)
    await limit.refund("me", "tokens", 50)
    await limit.charge("me", "tokens", 50)


async def test_a_request_above_a_minutes_allowance_is_refused_for_good() -> None:
    with pytest.raises(AboveRateLimit, match="costs 101 tokens, a client may use 100 a minute"):
        await limiter(tokens=100).charge("me", "tokens", 101)


def test_credentials_tell_clients_apart_and_are_not_kept() -> None:
    mine = client_id(b"Bearer secret", "10.0.0.1")
    assert mine == client_id(b"Bearer secret", "10.0.0.2")
    assert mine != client_id(b"Bearer other", "10.0.0.1")
    assert "secret" not in mine
    assert client_id(None, "10.0.0.1") == "ip:10.0.0.1"
