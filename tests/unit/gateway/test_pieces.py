"""Small pure parts of the gateway."""

import random
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest

from embedding_serving.contract.index import Distance
from embedding_serving.contract.route import GenerationRoute
from embedding_serving.gateway.breaker import FAILURES_TO_OPEN, FIRST_OPEN_SECONDS, Breaker
from embedding_serving.gateway.document_request import parse_document, parse_patch
from embedding_serving.gateway.endpoints import Endpoints
from embedding_serving.gateway.hits import Stored
from embedding_serving.gateway.members import Space, check_vector, read_vector
from embedding_serving.gateway.merge import Ranked, best, fused
from embedding_serving.gateway.openapi import DOCUMENTED
from embedding_serving.gateway.position import Positions, parse_tokens, to_token, wanted
from embedding_serving.gateway.reads import merged, parse_cursor, to_cursor
from embedding_serving.http.problems import ApiError
from embedding_serving.outgoing.addresses import resolve, split_port

GENERATION = GenerationRoute(generation=1, hosts=("a",), fingerprint="f", dimensions=3)


def test_the_best_of_several_lists_are_those_of_one() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(50):
        shards, k = int(rng.integers(1, 6)), int(rng.integers(1, 12))
        lists, everything = [], []
        for source in range(shards):
            size = int(rng.integers(0, k + 1))
            scores = np.sort(rng.standard_normal(size).astype(np.float32))[::-1]
            rows = rng.permutation(1_000)[:size].astype(np.int64)
            everything += [(-score, source, row) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]
            padding = k - size
            padded_rows = np.concatenate([rows, np.full(padding, -1)])
            lists.append((source, padded_rows, np.concatenate([scores, np.full(padding, -np.inf, np.float32)])))
        expected = [(source, row) for _, source, row in sorted(everything, key=lambda one: one[0])[:k]]
        assert [(one.source, one.row) for one in best(lists, k)] == expected


def test_what_is_high_in_both_lists_is_first_after_fusion() -> None:
    near = [Ranked(0, row, 1.0 - row / 10) for row in (1, 2, 3)]
    words = [Ranked(0, row, 9.0 - row) for row in (3, 9, 2)]
    ranking = fused([near, words], 10)
    assert {one.row for one in ranking[:2]} == {2, 3}
    assert [one.score for one in ranking] == sorted((one.score for one in ranking), reverse=True)
    assert ranking[0].score == pytest.approx(1 / 63 + 1 / 61)
    assert len(ranking) == 4


def page(*ids: str) -> list[Stored]:
    return [Stored([0, id_, "1.1", None, None, None]) for id_ in ids]


def test_a_page_goes_no_further_than_every_shard_has_told() -> None:
    documents, more = merged([(page("a", "b"), True), (page("c", "x"), False)], 10)
    assert ([one.id for one in documents], more) == (["a", "b"], True)
    documents, more = merged([(page("a", "d"), False), (page("b", "c"), False)], 3)
    assert ([one.id for one in documents], more) == (["a", "b", "c"], True)
    documents, more = merged([(page("a"), False), (page(), False)], 3)
    assert ([one.id for one in documents], more) == (["a"], False)


def test_ids_are_ordered_by_their_bytes() -> None:
    documents, _ = merged([(page("Z", "\U0001f600"), False), (page("ä", "￿"), False)], 10)
    assert [one.id for one in documents] == ["Z", "ä", "￿", "\U0001f600"]


def test_a_cursor_leads_back_to_its_place() -> None:
    assert parse_cursor(to_cursor("id/ä", None), None) == "id/ä"
    for nonsense in ("x", "", "bnVsbA", "WzEsMl0"):
        with pytest.raises(ApiError, match="cursor"):
            parse_cursor(nonsense, None)


def test_positions_of_several_writes_are_joined() -> None:
    tokens = [to_token(Positions(3, 1, {0: 5, 1: 2})), to_token(Positions(3, 1, {1: 7}))]
    assert wanted(parse_tokens(",".join(tokens).encode()), 3, 1) == ({0: 5, 1: 7}, False)


def test_positions_of_another_generation_or_of_a_feed_that_was_lost_mean_the_writer() -> None:
    token = to_token(Positions(3, 1, {0: 5}))
    assert wanted(parse_tokens(token.encode()), 4, 1) == ({}, True)
    assert wanted(parse_tokens(token.encode()), 3, 2) == ({}, True)
    assert parse_tokens(None) == []


@pytest.mark.parametrize("token", [b"x", b"!!", b"WzFd", b"WzEsW1siYSIsMV1dXQ", b"WzEsW1swLC0xXV1d", b"a" * 20_000])
def test_a_token_that_is_none_is_refused(token: bytes) -> None:
    with pytest.raises(ApiError, match="X-Index-Position"):
        parse_tokens(token)


def test_a_breaker_opens_after_failures_and_lets_one_call_try() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.allows()
        breaker.begin()
        breaker.failed()
    assert (breaker.allows(), breaker.state) == (False, "open")
    now = FIRST_OPEN_SECONDS
    assert (breaker.allows(), breaker.state) == (True, "half-open")
    breaker.begin()
    assert not breaker.allows()
    breaker.failed()
    now += FIRST_OPEN_SECONDS
    assert not breaker.allows()
    now += FIRST_OPEN_SECONDS
    breaker.begin()
    breaker.succeeded()
    assert (breaker.allows(), breaker.state) == (True, "closed")


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(5 * FAILURES_TO_OPEN):
        breaker.failed()
        breaker.succeeded()
    assert breaker.state == "closed"


@pytest.mark.parametrize("value", [[3, 4.0, 0], "AABAQAAAgEAAAAAA"])
def test_a_vector_comes_as_numbers_or_base64_and_is_made_of_length_one(value: object) -> None:
    vector = check_vector(read_vector(value, "vector"), Space(fingerprint="f"), GENERATION, "vector")
    assert vector.dtype == np.float32
    assert vector.tolist() == pytest.approx([0.6, 0.8, 0.0])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_vectors_are_normalised_too(scale: float) -> None:
    vector = read_vector([3 * scale, 4 * scale, 0.0], "vector")
    assert check_vector(vector, Space(), GENERATION, "vector").tolist() == pytest.approx([0.6, 0.8, 0.0])


@pytest.mark.parametrize("distance", [Distance.DOT, Distance.EUCLIDEAN])
def test_other_distances_take_a_vector_as_it_is(distance: Distance) -> None:
    other = GENERATION.model_copy(update={"distance": distance})
    assert check_vector(read_vector([0, 0, 5], "vector"), Space(), other, "vector").tolist() == [0, 0, 5]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("name", ("name", 1)), ("name:5", ("name", 5)), ("10.0.0.1:5", ("10.0.0.1", 5)),
        ("::1", ("::1", 1)), ("[::1]:5", ("::1", 5)), ("[::1]", ("::1", 1)),
    ],
)  # fmt: skip
def test_a_host_may_carry_its_port(host: str, expected: tuple[str, int]) -> None:
    assert split_port(host, 1) == expected


async def test_several_hosts_are_several_addresses_and_an_unknown_one_is_none() -> None:
    assert await resolve("127.0.0.1:5,127.0.0.1:6,127.0.0.1:5", 1) == [("127.0.0.1", 5), ("127.0.0.1", 6)]
    assert await resolve("nobody.invalid", 1) == []


def test_what_was_asked_for_is_known_again_whatever_its_form_and_whenever_it_comes() -> None:
    said = {"id": "a", "text": "t", "metadata": {"a": 1, "b": [2]}, "vector": [0.5, 1.0], "ttl_seconds": 60}
    packed = np.array([0.5, 1.0], "<f4").tobytes()
    first = parse_document(said)
    again = parse_document(said | {"metadata": {"b": [2], "a": 1}, "vector": b64encode(packed).decode()})
    assert replace(again, expires_at=0).digest() == first.digest()
    for other in (
        {"id": "b"}, {"text": "u"}, {"text": None}, {"metadata": {"a": 1}}, {"vector": [0.5, 2.0]}, {"vector": None},
        {"ttl_seconds": 61}, {"ttl_seconds": None}, {"if_version": "0"}, {"fingerprint": "f"},
    ):  # fmt: skip
        assert parse_document(said | other).digest() != first.digest(), other
    patches = [parse_patch("a", body) for body in ({"ttl_seconds": None}, {"text": "t"}, {"text": "t", "ttl_seconds": None})]
    assert len({patch.digest() for patch in patches}) == 3


def test_every_hot_route_reads_the_parameters_that_are_documented() -> None:
    routes = Endpoints(None).routes()  # type: ignore[arg-type]
    assert {(one.method, one.path): set(one.parameters) for one in routes} == {
        route: set(documented.parameters) for route, documented in DOCUMENTED.items()
    }
