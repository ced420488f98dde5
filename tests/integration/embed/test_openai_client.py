"""The official client, as it comes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI

from .server import MODEL_NAME, EmbedServer, Prepared, serving

TEXTS = ["A cat sleeps by the harbour.", "Ein Hund wacht.", "東京は晴れです。", "x"]


@pytest.fixture(scope="module")
def client(server: EmbedServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def vectors(client: OpenAI, texts: Any, **more: Any) -> np.ndarray:
    answer = client.embeddings.create(model=MODEL_NAME, input=texts, **more)
    assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
    return np.array([entry.embedding for entry in answer.data], dtype=np.float32)


def test_a_list_of_texts_gives_unit_vectors_in_order(client: OpenAI) -> None:
    together = vectors(client, TEXTS)
    assert together.shape == (4, 384)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        assert vectors(client, text)[0] @ vector > 0.99999


def test_floats_and_base64_are_the_same_numbers(client: OpenAI) -> None:
    floats = vectors(client, TEXTS, encoding_format="float")
    assert np.array_equal(floats, vectors(client, TEXTS, encoding_format="float"))
    raw = client.embeddings.with_raw_response.create(model=MODEL_NAME, input=TEXTS, encoding_format="base64")
    assert '"embedding":"' in raw.text
    assert np.allclose(floats, vectors(client, TEXTS), atol=1e-6)


def test_token_ids_give_the_vector_of_their_text(client: OpenAI) -> None:
    ids = [[7592, 2088], [1037, 4937]]
    assert np.allclose(vectors(client, ids), vectors(client, ["hello world", "a cat"]), atol=1e-6)
    assert np.allclose(vectors(client, ids[0]), vectors(client, "hello world"), atol=1e-6)


def test_usage_counts_tokens(client: OpenAI) -> None:
    usage = client.embeddings.create(model=MODEL_NAME, input=["hello world", "hello"]).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (7, 7)


def test_more_members_than_we_know_are_no_error(client: OpenAI) -> None:
    assert vectors(client, "hello", user="me", dimensions=384, extra_body={"unheard": 1}).shape == (1, 384)


def test_similar_texts_are_near(client: OpenAI) -> None:
    cat, kitten, tax = vectors(client, ["a cat sleeps", "a kitten is napping", "the tax return is due in May"])
    assert cat @ kitten > 0.5 > cat @ tax


def test_the_model_is_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL_NAME]
    assert client.models.retrieve(MODEL_NAME).id == MODEL_NAME
    with pytest.raises(openai.NotFoundError, match="'other' is not served here"):
        client.models.retrieve("other")


@pytest.mark.parametrize("input_", [[], "", ["a", ""], ["a", 1], [[]], [-1], [[99_999_999]], [1, "a"]])
def test_bad_input_is_a_bad_request_that_names_the_field(client: OpenAI, input_: object) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        vectors(client, input_)
    assert refused.value.param is not None
    assert refused.value.param.startswith("input")
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id


def test_another_models_name_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has 'minilm'") as refused:
        client.embeddings.create(model="text-embedding-3-small", input="hello")
    assert refused.value.code == "model_not_found"


def test_other_dimensions_are_refused_with_the_remedy(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"have 384: leave it out, or set spec\.model\.dimensions"):
        vectors(client, "hello", dimensions=256)


def test_a_used_up_allowance_is_a_rate_limit_error(minilm: Prepared, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(minilm, tmp_path_factory.mktemp("limited"), requests_per_minute=2) as limited:
        mine, yours = (OpenAI(base_url=f"{limited.url}/v1", api_key=key, max_retries=0) for key in ("a-secret-key", "another"))
        vectors(mine, "one")
        vectors(mine, "two")
        with pytest.raises(openai.RateLimitError, match="used its 2 requests a minute") as refused:
            vectors(mine, "three")
        assert refused.value.code == "rate_limited"
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30
        vectors(yours, "one")
        assert "a-secret-key" not in limited.log()
        mine.close()
        yours.close()


def test_a_full_queue_costs_a_patient_client_time_and_no_request(
    minilm: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        serving(minilm, tmp_path_factory.mktemp("small-queue"), max_queued_tokens=600) as small,
        OpenAI(base_url=f"{small.url}/v1", api_key="unused", max_retries=20) as patient,
        ThreadPoolExecutor(8) as threads,
    ):
        requests = [[f"{'word ' * 240}{client}", f"{'word ' * 239}{client}"] for client in range(8)]
        answers = list(threads.map(lambda texts: vectors(patient, texts), requests))
        assert [answer.shape for answer in answers] == [(2, 384)] * 8
        assert small.metric("embedding_rejected_total") > 0, "the queue was never full: the test shows nothing"
