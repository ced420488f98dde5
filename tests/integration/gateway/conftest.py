from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.models import minilm_directory
from integration.embed import server as embed
from integration.shard.shard_process import Operator

from .world import Client, GatewayProcess, generation, serving


@pytest.fixture(scope="session")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="session")
def service(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Two shards of an index without a model, shared by tests that use ids of their own."""
    work = tmp_path_factory.mktemp("service")
    with serving(work, operator, generation(work, operator, shards=2)) as running:
        yield running


@pytest.fixture
def client(service: GatewayProcess) -> Iterator[Client]:
    with Client(service) as made:
        yield made


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> embed.Prepared:
    return embed.prepare(minilm_directory(), tmp_path_factory.mktemp("minilm") / "weights")


@pytest.fixture(scope="session")
def encoder(prepared: embed.Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[embed.EmbedServer]:
    with embed.serving(prepared, tmp_path_factory.mktemp("encoder"), log_level="DEBUG") as running:
        yield running


@pytest.fixture(scope="session")
def text_service(
    operator: Operator, prepared: embed.Prepared, encoder: embed.EmbedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Two shards of an index whose model is all-MiniLM-L6-v2."""
    work: Path = tmp_path_factory.mktemp("text-service")
    made = generation(
        work,
        operator,
        shards=2,
        fingerprint=prepared.fingerprint,
        dimensions=384,
        encoder=encoder.url,
        text_required=True,
        fields=({"name": "lang", "type": "Keyword"}, {"name": "page", "type": "Integer"}),
    )
    made.model, made.revision = embed.MODEL_NAME, embed.REVISION
    with serving(work, operator, made, log_level="DEBUG") as running:
        yield running


@pytest.fixture
def text_client(text_service: GatewayProcess) -> Iterator[Client]:
    with Client(text_service) as made:
        yield made
