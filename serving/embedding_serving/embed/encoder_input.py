"""Tokens of several texts as the arrays that an engine takes."""

from collections.abc import Sequence

import numpy as np

from .engines.engine import Ids
from .tokens import Tokens


def padded(texts: Sequence[Tokens], length_multiple: int) -> tuple[Ids, Ids, Ids]:
    """input_ids, attention_mask and token_type_ids, int64 [n, L], padded on the right."""
    longest = max(len(text) for text in texts)
    length = -(-longest // length_multiple) * length_multiple
    input_ids, attention_mask, token_type_ids = np.zeros((3, len(texts), length), dtype=np.int64)
    for row, text in enumerate(texts):
        input_ids[row, : len(text)] = text.ids
        attention_mask[row, : len(text)] = 1
        if text.type_ids is not None:
            token_type_ids[row, : len(text)] = text.type_ids
    return input_ids, attention_mask, token_type_ids
