"""Three sentences, their vectors from the served model, and which two mean nearly the same."""

from __future__ import annotations

import http.client
import itertools
import json
import math
import operator
from dataclasses import dataclass

from rich.table import Table

from cluster import Cluster

SENTENCES = (
    "How do I reset a forgotten password?",
    "I can't log in any more because I lost my passphrase.",
    "The bakery sells fresh bread from six in the morning.",
)
_TIMEOUT_SECONDS = 30

Vector = list[float]


class AnswerError(Exception):
    """The service answered something else than vectors. The message is one line."""


@dataclass(frozen=True)
class Answer:
    """`similarity[i][j]`: cosine of sentences i and j. `nearest`: the two indices of the nearest pair."""

    dimensions: int
    similarity: list[list[float]]
    nearest: tuple[int, int]


def ask(cluster: Cluster, namespace: str, service: str, port: int, model: str) -> Answer:
    """Embed SENTENCES through the Service. Raises AnswerError, ClusterError."""
    with cluster.port_forward(f"service/{service}", port, namespace=namespace) as local:
        vectors = _embed(local, model)
    similarity = [[_cosine(one, other) for other in vectors] for one in vectors]
    pairs = itertools.combinations(range(len(vectors)), 2)
    return Answer(len(vectors[0]), similarity, max(pairs, key=lambda pair: similarity[pair[0]][pair[1]]))


def _embed(port: int, model: str) -> list[Vector]:
    """The request that any OpenAI client sends."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        body = json.dumps({"model": model, "input": list(SENTENCES)})
        connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise AnswerError(f"no answer to POST /v1/embeddings: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise AnswerError(f"POST /v1/embeddings answered {response.status}: {' '.join(text.split())[:300]}")
    return [item["embedding"] for item in sorted(json.loads(text)["data"], key=lambda item: int(item["index"]))]


def _cosine(one: Vector, other: Vector) -> float:
    product = float(sum(map(operator.mul, one, other)))
    return product / (math.hypot(*one) * math.hypot(*other))


def table(answer: Answer) -> Table:
    """The sentences with their similarities, the nearest pair marked."""
    shown = Table("", "sentence", *(str(number + 1) for number in range(len(SENTENCES))), box=None)
    for row, sentence in enumerate(SENTENCES):
        cells = (
            f"[bold green]{value:.2f}[/]" if tuple(sorted((row, column))) == answer.nearest else f"{value:.2f}"
            for column, value in enumerate(answer.similarity[row])
        )
        shown.add_row(str(row + 1), sentence, *cells)
    return shown
