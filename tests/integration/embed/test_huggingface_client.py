"""huggingface_hub's client, which speaks to text-embeddings-inference."""

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from .server import EmbedServer, Prepared, serving


@pytest.fixture(scope="module")
def client(server: EmbedServer) -> InferenceClient:
    return InferenceClient(base_url=server.url)


def test_features_of_one_text_and_of_several(client: InferenceClient) -> None:
    one = client.feature_extraction("hello world")
    assert one.shape == (1, 384)
    several = client.feature_extraction(["hello world", "a cat"], normalize=True, truncate=True)
    assert several.dtype == np.float32
    assert several[0] @ one[0] > 0.99999


def test_sentence_similarity(client: InferenceClient) -> None:
    near, far = client.sentence_similarity("a cat sleeps", ["a kitten is napping", "taxes are due"])
    assert near > 0.5 > far


def test_the_role_of_a_text_is_its_prompt_name(prefixed: Prepared, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(prefixed, tmp_path_factory.mktemp("prefixed")) as server:
        client = InferenceClient(base_url=server.url)
        as_query = client.feature_extraction("a cat", prompt_name="query")[0]
        as_document = client.feature_extraction("a cat", prompt_name="passage")[0]
        by_hand = client.feature_extraction(["query: a cat", "passage: a cat"], prompt_name="none")
        assert as_query @ by_hand[0] > 0.99999
        assert as_document @ by_hand[1] > 0.99999
        assert as_query @ as_document < 0.999
        assert client.feature_extraction("a cat")[0] @ as_document > 0.99999


def test_an_unknown_prompt_is_refused(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        client.feature_extraction("a cat", prompt_name="poem")
    assert refused.value.response.status_code == 400
    answer = refused.value.response.json()
    assert answer["error_type"] == "Validation"
    assert "'poem' is not one of query" in answer["error"]


def test_a_long_text_is_cut_at_either_end_or_refused(client: InferenceClient) -> None:
    long = "cat " * 300 + "tax " * 300
    right = client.feature_extraction(long, truncation_direction="right")[0]
    left = client.feature_extraction(long, truncation_direction="left")[0]
    assert right @ client.feature_extraction("cat " * 254)[0] > 0.99999
    assert left @ client.feature_extraction("tax " * 254)[0] > 0.99999
    with pytest.raises(HfHubHTTPError) as refused:
        client.feature_extraction(long, truncate=False)
    assert refused.value.response.json()["code"] == "too_many_tokens"
