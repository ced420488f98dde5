from collections.abc import Iterator

import pytest

from fixtures.models import derived_minilm, minilm_directory
from integration.embed import server as embed
from integration.shard.shard_process import Operator


@pytest.fixture(scope="session")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[embed.Prepared, embed.EmbedServer]]:
    """all-MiniLM-L6-v2."""
    work = tmp_path_factory.mktemp("good")
    made = embed.prepare(minilm_directory(), work / "weights")
    with embed.serving(made, work) as running:
        yield made, running


@pytest.fixture(scope="session")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[embed.Prepared, embed.EmbedServer]]:
    """Its first layer alone, pooled as it was not trained to be: it hardly knows what a text is about."""
    work = tmp_path_factory.mktemp("worse")
    made = embed.prepare(derived_minilm(work / "model", layers=1, pooling="cls"), work / "weights")
    with embed.serving(made, work) as running:
        yield made, running
