"""Who may command a shard, and what it says of itself."""

import time
from collections.abc import Callable

import jwt
import pytest

from embedding_serving.contract.admin import TOKEN_ISSUER, Mode, audience

from .conftest import MakeShard
from .shard_process import NAMESPACE, Operator, ShardProcess, calling, vectors

WRONG: dict[str, Callable[[Operator, str], str]] = {
    "none": lambda operator, pod: "",
    "no token": lambda operator, pod: "nonsense",
    "another operator": lambda operator, pod: Operator().token(pod),
    "another pod": lambda operator, pod: operator.token("docs-g1-s1-0"),
    "another namespace": lambda operator, pod: operator.token(pod, aud=audience("elsewhere", pod)),
    "another issuer": lambda operator, pod: operator.token(pod, iss="somebody"),
    "expired": lambda operator, pod: operator.token(pod, iat=time.time() - 300, exp=time.time() - 240),
    "of long life": lambda operator, pod: operator.token(pod, iat=time.time() - 300, exp=time.time() + 3600),
    "another algorithm": lambda operator, pod: jwt.encode(
        {"aud": audience(NAMESPACE, pod), "iss": TOKEN_ISSUER, "iat": time.time(), "exp": time.time() + 60},
        operator.public_key * 2,
        algorithm="HS256",
    ),
    "unsigned": lambda operator, pod: jwt.encode(
        {"aud": audience(NAMESPACE, pod), "iss": TOKEN_ISSUER, "iat": time.time(), "exp": time.time() + 60},
        "",
        algorithm="none",
    ),
}


def test_without_a_valid_token_nothing_changes(make_shard: MakeShard, operator: Operator) -> None:
    shard = make_shard().await_ready()
    before = shard.info()
    for name in ("fence", "seal", "follow", "prepare", "retire", "activate", "unfence", "release", "nothing"):
        for kind, make in WRONG.items():
            body = {"epoch": 5, "history": before.history}
            answer = shard.post(name, body, make(operator, shard.settings.pod))
            assert answer.status_code == 401, (name, kind, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthenticated"
    assert shard.info().model_dump(exclude={"free_bytes", "bytes"}) == before.model_dump(exclude={"free_bytes", "bytes"})
    assert shard.tell("unfence", epoch=5).json()["mode"] == Mode.OPEN


def test_a_shard_without_a_key_takes_no_commands(make_shard: MakeShard, operator: Operator) -> None:
    shard = make_shard(admin_public_keys=()).await_ready()
    assert shard.tell("unfence", epoch=1).status_code == 401


def test_a_message_can_be_repeated_and_an_old_one_is_refused(shard: ShardProcess) -> None:
    assert shard.tell("unfence", epoch=1).status_code == 200
    first = shard.tell("fence", epoch=2, deadline_seconds=60.0)
    assert first.json() == shard.tell("fence", epoch=2, deadline_seconds=60.0).json()
    stale = shard.tell("unfence", epoch=1)
    assert (stale.status_code, stale.json()["code"]) == (409, "stale")
    other = shard.tell("unfence", epoch=3, history="somebody-else")
    assert (other.status_code, other.json()["code"]) == (409, "wrong_history")


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("fence", {"epoch": 2, "history": "h"}, 400, "invalid_request"),
        ("fence", [], 400, "invalid_request"),
        ("teleport", {}, 404, "not_found"),
        ("unfence", {"epoch": 2, "history": "h", "x": "y" * (2 << 20)}, 413, "body_too_large"),
    ],
)
def test_a_wrong_message_is_told_what_is_wrong(shard: ShardProcess, name: str, body: object, status: int, code: str) -> None:
    answer = shard.post(name, body, shard.operator.token(shard.settings.pod))
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_metrics_tell_of_searches_writes_and_documents(shard: ShardProcess) -> None:
    async with calling(shard) as gateway:
        await gateway.put(["a", "b"], vectors(2, seed=1))
        await gateway.search(vectors(1, seed=1)[0])
        with pytest.raises(Exception, match="unknown_op"):
            await gateway.call("made_up")
    text = shard.metrics()
    for line in (
        "shard_documents 2.0",
        'shard_requests_total{code="ok",op="write"} 1.0',
        'shard_requests_total{code="unknown_op",op="other"} 1.0',
        'shard_mode{mode="Open"} 1.0',
        "search_latency_seconds_count 1.0",
        "shard_commit_seconds_count",
        "shard_position",
        'shard_index_type{type="Flat"} 1.0',
    ):
        assert line in text
