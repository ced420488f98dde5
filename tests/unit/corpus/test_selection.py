"""The whole corpus: order, repetitions, and the command."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import corpus
from corpus import NoTexts
from corpus.document import document
from corpus.selection import shuffled


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(Path(corpus.__file__).parents[1])}
    return subprocess.run([sys.executable, "-m", "corpus", *arguments], env=env, capture_output=True, text=True, check=False)


def sample(count: int) -> list[str]:
    return [f"text number {number} of the sample" for number in range(count)]


def test_the_order_does_not_depend_on_how_documents_were_found() -> None:
    found = [document(f"a:{n}", text, "a", "p", "s") for n, text in enumerate(sample(100))]
    again = list(found)
    seed = random.randrange(1 << 32)
    random.Random(seed).shuffle(again)
    assert shuffled(again) == shuffled(found), f"seed {seed}"


def test_a_prefix_is_a_sample_of_all_sources() -> None:
    texts = iter(sample(400))
    found = [document(f"{source}:{n}", next(texts), source, "p", "s") for source in "ab" for n in range(200)]
    sources = {one.metadata["source"] for one in shuffled(found, limit=20)}
    assert sources == {"a", "b"}


def test_a_text_or_an_id_comes_once() -> None:
    found = [
        document("a:1", "the tides of the sea", "a", "p", "s"),
        document("b:1", "The Tides of the Sea", "b", "p", "s"),
        document("a:1", "another text of one id", "a", "p", "s"),
    ]
    assert [one.text for one in shuffled(found)] == ["the tides of the sea"]


def test_a_machine_without_texts_is_told_what_to_do() -> None:
    with pytest.raises(NoTexts, match="Install Python with its sources"):
        shuffled([])


def test_the_command_prints_documents_of_this_machine() -> None:
    done = command("--limit", "50")
    assert done.returncode == 0, done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(documents) == 50
    assert len({one["id"] for one in documents}) == 50
    assert all({"id", "text", "metadata"} == set(one) for one in documents)


def test_the_command_refuses_a_count_that_is_none() -> None:
    done = command("--limit", "0")
    assert done.returncode == 2
    assert "a positive number" in done.stderr
