"""Text to token ids, with the model's own tokenizer.

Special tokens written out in a text (`[SEP]`, `</s>`) are read as such, as transformers does: the vector of a text is
the same here and there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tokenizers import Encoding, Tokenizer


class Truncation(StrEnum):
    """What happens to a text longer than the model reads: cut its end, cut its start, or refuse it."""

    RIGHT = "right"
    LEFT = "left"
    REFUSE = "refuse"


class TooManyTokens(Exception):
    """`index`: which text of the request."""

    def __init__(self, index: int, tokens: int, max_tokens: int) -> None:
        super().__init__(f"the text has {tokens} tokens, the model reads {max_tokens}")
        self.index = index


class UnknownToken(Exception):
    """`index`: which text of the request."""

    def __init__(self, index: int, token: int, vocabulary: int) -> None:
        super().__init__(f"token id {token} is not in the model's vocabulary of {vocabulary}")
        self.index = index


class BrokenTokenizer(Exception):
    """The tokenizer file is not one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of one text, special tokens included. `type_ids` is None where all are 0."""

    ids: Sequence[int]
    type_ids: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """Thread-safe: nothing changes after construction."""

    def __init__(self, tokenizer_file: Path, max_tokens: int) -> None:
        try:
            definition = tokenizer_file.read_text(encoding="utf-8")
            self._by_truncation = {mode: _configured(definition, mode, max_tokens) for mode in Truncation}
        except Exception as error:  # `tokenizers` raises bare Exception for a file it cannot read
            raise BrokenTokenizer(f"{tokenizer_file}: {error}") from error
        self.max_tokens = max_tokens
        self._plain = self._by_truncation[Truncation.REFUSE]
        self._vocabulary = self._plain.get_vocab_size(with_added_tokens=True)
        self._head, self._tail = _special_tokens(self._plain)

    def texts(self, texts: Sequence[str], truncation: Truncation) -> list[Tokens]:
        """Raises TooManyTokens where `truncation` refuses and a text is too long."""
        encodings = self._by_truncation[truncation].encode_batch_fast(list(texts))
        return [self._checked(index, Tokens(encoding.ids)) for index, encoding in enumerate(encodings)]

    def pairs(self, query: str, texts: Sequence[str], truncation: Truncation) -> list[Tokens]:
        """A query beside each text, as a re-ranker reads them; the longer of the two is cut first."""
        encodings = self._by_truncation[truncation].encode_batch_fast([(query, text) for text in texts])
        return [self._checked(index, _pair(encoding)) for index, encoding in enumerate(encodings)]

    def token_ids(self, sequences: Sequence[Sequence[int]], truncation: Truncation) -> list[Tokens]:
        """Ids of this model's vocabulary, with or without the special tokens around them.

        Raises UnknownToken for an id outside of the vocabulary, TooManyTokens like `texts`.
        """
        return [self._framed(index, list(sequence), truncation) for index, sequence in enumerate(sequences)]

    def _framed(self, index: int, ids: list[int], truncation: Truncation) -> Tokens:
        for token in ids:
            if not 0 <= token < self._vocabulary:
                raise UnknownToken(index, token, self._vocabulary)
        if self._is_framed(ids):
            ids = ids[len(self._head) : len(ids) - len(self._tail)]
        room = max(0, self.max_tokens - len(self._head) - len(self._tail))
        if truncation is Truncation.RIGHT:
            ids = ids[:room]
        elif truncation is Truncation.LEFT:
            ids = ids[max(0, len(ids) - room) :]
        return self._checked(index, Tokens([*self._head, *ids, *self._tail]))

    def _is_framed(self, ids: list[int]) -> bool:
        head, tail = self._head, self._tail
        return len(ids) >= len(head) + len(tail) and ids[: len(head)] == head and ids[len(ids) - len(tail) :] == tail

    def _checked(self, index: int, tokens: Tokens) -> Tokens:
        if len(tokens) > self.max_tokens:
            raise TooManyTokens(index, len(tokens), self.max_tokens)
        return tokens


def _configured(definition: str, truncation: Truncation, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_padding()
    if truncation is Truncation.REFUSE:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens, direction=truncation.value)
    return tokenizer


def _pair(encoding: Encoding) -> Tokens:
    return Tokens(encoding.ids, encoding.type_ids if any(encoding.type_ids) else None)


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    framed = tokenizer.encode("a").ids
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    for start in range(len(framed) - len(bare) + 1):
        if bare and framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    return [], []
