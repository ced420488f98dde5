from collections.abc import Iterator

import pytest

from embedding_serving.contract.model import ModelOptions, Task
from fixtures.models import minilm_directory, tiny_model

from .server import EmbedServer, Prepared, prepare, serving


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(minilm_directory(), tmp_path_factory.mktemp("minilm") / "weights")


@pytest.fixture(scope="session")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    options = ModelOptions(query_prefix="query: ", document_prefix="passage: ")
    return prepare(minilm_directory(), tmp_path_factory.mktemp("prefixed") / "weights", options)


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    work = tmp_path_factory.mktemp("reranker")
    return prepare(tiny_model(work / "model", reranker=True), work / "weights", ModelOptions(task=Task.RERANK))


@pytest.fixture(scope="session")
def server(minilm: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedServer]:
    """The real model with default settings, shared by tests that change nothing."""
    with serving(minilm, tmp_path_factory.mktemp("server")) as running:
        yield running
