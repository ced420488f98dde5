import pytest

from embedding_serving.embed.tokens import TextTokenizer, TooManyTokens, Truncation, UnknownToken
from fixtures.models import minilm_directory

CLS, SEP = 101, 102
HELLO, WORLD = 7592, 2088


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(minilm_directory() / "tokenizer.json", 8)


def ids(tokenizer: TextTokenizer, text: str, truncation: Truncation = Truncation.RIGHT) -> list[int]:
    return list(tokenizer.texts([text], truncation)[0].ids)


def test_a_text_stands_between_its_special_tokens(tokenizer: TextTokenizer) -> None:
    assert ids(tokenizer, "hello world") == [CLS, HELLO, WORLD, SEP]


def test_a_long_text_is_cut_where_it_was_asked_to_be(tokenizer: TextTokenizer) -> None:
    text = "world " * 9 + "hello"
    assert ids(tokenizer, text) == [CLS, *[WORLD] * 6, SEP]
    assert ids(tokenizer, text, Truncation.LEFT) == [CLS, *[WORLD] * 5, HELLO, SEP]


def test_a_long_text_is_refused_where_cutting_is(tokenizer: TextTokenizer) -> None:
    assert ids(tokenizer, "world " * 6, Truncation.REFUSE) == [CLS, *[WORLD] * 6, SEP]
    with pytest.raises(TooManyTokens, match="has 9 tokens, the model reads 8") as refused:
        tokenizer.texts(["hello", "world " * 7], Truncation.REFUSE)
    assert refused.value.index == 1


@pytest.mark.parametrize("given", [[HELLO, WORLD], [CLS, HELLO, WORLD, SEP]])
def test_token_ids_mean_the_text_that_they_came_from(tokenizer: TextTokenizer, given: list[int]) -> None:
    assert list(tokenizer.token_ids([given], Truncation.RIGHT)[0].ids) == [CLS, HELLO, WORLD, SEP]


def test_long_token_ids_are_cut_like_texts(tokenizer: TextTokenizer) -> None:
    given = [WORLD] * 9 + [HELLO]
    assert list(tokenizer.token_ids([given], Truncation.RIGHT)[0].ids) == [CLS, *[WORLD] * 6, SEP]
    assert list(tokenizer.token_ids([given], Truncation.LEFT)[0].ids) == [CLS, *[WORLD] * 5, HELLO, SEP]
    with pytest.raises(TooManyTokens):
        tokenizer.token_ids([given], Truncation.REFUSE)


@pytest.mark.parametrize("token", [-1, 30_522, 10**30])
def test_a_token_outside_of_the_vocabulary_is_named(tokenizer: TextTokenizer, token: int) -> None:
    with pytest.raises(UnknownToken, match=f"{token} is not in the model's vocabulary of 30522") as refused:
        tokenizer.token_ids([[HELLO], [token]], Truncation.RIGHT)
    assert refused.value.index == 1


def test_a_pair_tells_query_and_text_apart(tokenizer: TextTokenizer) -> None:
    (pair,) = tokenizer.pairs("hello", ["world"], Truncation.RIGHT)
    assert list(pair.ids) == [CLS, HELLO, SEP, WORLD, SEP]
    assert pair.type_ids == [0, 0, 0, 1, 1]
