"""The vectors of a served model are those of plain transformers, whatever a text's company in a batch."""

import random
from collections.abc import Sequence

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from fixtures.models import minilm_directory

from .corpus import corpus, scripts
from .server import EmbedServer

SIZE = 1_000
MIN_COSINE = 0.99999


@pytest.fixture(scope="module")
def texts() -> list[str]:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the corpus: {seed}")
    chosen = corpus(SIZE, seed)
    assert len(set(chosen)) == SIZE
    assert len(set().union(*map(scripts, chosen))) >= 15
    return chosen


@pytest.fixture(scope="module")
def reference(texts: Sequence[str]) -> np.ndarray:
    """float32 [n, dim]: each text alone, with nothing but transformers."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(minilm_directory())
    model = AutoModel.from_pretrained(minilm_directory()).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            mean = model(**inputs).last_hidden_state[0].mean(dim=0)
            rows.append((mean / mean.norm()).numpy())
    return np.array(rows)


def embedded(server: EmbedServer, batches: Sequence[Sequence[str]]) -> np.ndarray:
    """Raw float32, so that no rounding of numbers in text comes between."""
    rows = []
    with httpx.Client(base_url=server.url, headers={"accept": "application/octet-stream"}, timeout=120) as client:
        for batch in batches:
            answer = client.post("/v1/embeddings", json={"input": list(batch)})
            assert answer.status_code == 200, answer.text
            rows.append(np.frombuffer(answer.content, dtype="<f4").reshape(len(batch), -1))
    return np.concatenate(rows)


def assert_agreement(vectors: np.ndarray, reference: np.ndarray, texts: Sequence[str]) -> None:
    cosines = np.einsum("nd,nd->n", vectors.astype(np.float64), reference.astype(np.float64))
    print(f"least cosine over {len(texts)} texts: {cosines.min():.8f}")
    worst = int(cosines.argmin())
    assert cosines[worst] >= MIN_COSINE, f"{cosines[worst]} for {texts[worst]!r}"


def test_each_text_alone(server: EmbedServer, texts: list[str], reference: np.ndarray) -> None:
    assert_agreement(embedded(server, [[text] for text in texts]), reference, texts)


def test_the_same_texts_in_any_batch(server: EmbedServer, texts: list[str], reference: np.ndarray) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the batches: {seed}")
    chooser = random.Random(seed)
    order = chooser.sample(range(SIZE), k=SIZE)
    batches: list[list[str]] = []
    while sum(map(len, batches)) < SIZE:
        start = sum(map(len, batches))
        batches.append([texts[row] for row in order[start : start + chooser.randint(1, 64)]])
    assert_agreement(embedded(server, batches), reference[order], [texts[row] for row in order])
