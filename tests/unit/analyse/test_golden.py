"""What a line of golden queries says, and what is told of one that says nothing."""

import json
from typing import Any

import numpy as np
import pytest

from embedding_serving.analyse.golden import parse_golden
from embedding_serving.contract.route import GenerationRoute

WITH_MODEL = GenerationRoute(generation=2, hosts=("h",), fingerprint="f", dimensions=3, encoder="http://m")
WITHOUT = GenerationRoute(generation=2, hosts=("h",), fingerprint="f", dimensions=3)


def faults(line: Any, generation: GenerationRoute = WITH_MODEL) -> str:
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    golden = parse_golden(raw, generation)
    assert golden.queries == ()
    (fault,) = golden.faults
    return fault


def test_a_line_says_what_is_asked_and_what_is_to_be_found() -> None:
    line = {"query": "q", "ids": ["a", "b"], "k": 3, "filter": {"must": [{"key": "n", "match": {"value": 1}}]}}
    golden = parse_golden(f"\n{json.dumps(line)}\r\n\n".encode(), WITH_MODEL)
    assert golden.faults == ()
    (one,) = golden.queries
    assert (one.line, one.query.text, one.ids, one.k) == (2, "q", ("a", "b"), 3)
    assert one.filter_ is not None
    assert parse_golden(b'{"query": "q", "ids": ["a"]}', WITH_MODEL).queries[0].k == 10


def test_without_a_model_lines_bring_vectors_as_shards_compare_them() -> None:
    (one,) = parse_golden(b'{"vector": [3, 0, 4], "ids": ["a"]}', WITHOUT).queries
    assert one.query.vector is not None
    assert np.allclose(one.query.vector, [0.6, 0.0, 0.8])


@pytest.mark.parametrize(
    ("line", "generation", "told"),
    [
        (b"{", WITH_MODEL, "it is not JSON"),
        ([1], WITH_MODEL, "it is not a JSON object"),
        ({"query": "q"}, WITH_MODEL, "ids takes the documents"),
        ({"query": "q", "ids": []}, WITH_MODEL, "ids takes the documents"),
        ({"query": "q", "ids": [1]}, WITH_MODEL, "ids[0] is"),
        ({"query": "q", "ids": ["a", "b"], "k": 1}, WITH_MODEL, "they can never all be found"),
        ({"query": "q", "ids": ["a"], "k": 0}, WITH_MODEL, "k is"),
        ({"query": " ", "ids": ["a"]}, WITH_MODEL, "query is empty"),
        ({"query": "q", "ids": ["a"], "expect": 1}, WITH_MODEL, "there is no 'expect' here"),
        ({"query": "q", "ids": ["a"], "filter": {"all": 1}}, WITH_MODEL, "filter"),
        ({"vector": [1, 2, 3], "ids": ["a"]}, WITH_MODEL, "it takes query"),
        ({"query": "q", "ids": ["a"]}, WITHOUT, "it takes vector"),
        ({"vector": [1, 2], "ids": ["a"]}, WITHOUT, "vector has 2 components"),
        ({"vector": [0, 0, 0], "ids": ["a"]}, WITHOUT, "vector is all zeros"),
    ],
)  # fmt: skip
def test_a_line_that_says_nothing_is_named(line: Any, generation: GenerationRoute, told: str) -> None:
    fault = faults(line, generation)
    assert fault.startswith("line 1: ")
    assert told in fault


def test_a_file_without_a_query_is_at_fault_itself() -> None:
    assert parse_golden(b"\n \n", WITH_MODEL).faults == ("it holds no query",)
