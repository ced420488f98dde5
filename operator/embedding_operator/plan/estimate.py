"""What another generation costs, before it is begun and while it is built. Numbers are round: they are told, not billed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embedding_serving.contract.admin import BuildState

from ..api.quantity import times
from ..resources import Manifest
from .shards import ShardWorld

BYTES_PER_TOKEN = 4
"""Of text, in languages that tokenizers were made for; others take up to three times as many tokens."""
DIGITS = 2


@dataclass(frozen=True)
class Estimate:
    """None = not known. tokens: None also where vectors are copied. storage: all volumes, as a quantity."""

    documents: int
    tokens: int | None
    seconds: int | None
    storage: str

    def status(self) -> Manifest:
        known = {"tokens": self.tokens, "seconds": self.seconds, "storage": self.storage}
        return {key: value for key, value in known.items() if value is not None}

    def __str__(self) -> str:
        parts = [f"about {_short(self.documents)} documents"]
        if self.tokens is not None:
            parts.append(f"{_short(self.tokens)} tokens to embed")
        return ", ".join([*parts, f"{self.storage} of further storage"])


def estimate(active: Iterable[ShardWorld], *, embeds: bool, size: str, volumes: int) -> Estimate | None:
    """Before it begins. None while not every shard says what it holds."""
    infos = [shard.writer for shard in active]
    known = [info for info in infos if info]
    if len(known) < len(infos):
        return None
    tokens = sum(info.text_bytes for info in known) // BYTES_PER_TOKEN if embeds else None
    return Estimate(
        documents=round_off(sum(info.documents for info in known)),
        tokens=None if tokens is None else round_off(tokens),
        seconds=None,
        storage=times(size, volumes),
    )


def corrected(before: Estimate, builds: Sequence[BuildState], total_documents: int) -> Estimate:
    """By what was seen while it is built: tokens of a document, where the encoder counts them, and documents of a second."""
    rows, tokens = sum(one.rows for one in builds), sum(one.tokens for one in builds)
    embedded = max(0, total_documents - sum(one.reused for one in builds))
    rate = sum(one.rows_per_second for one in builds)
    return Estimate(
        documents=before.documents,
        tokens=round_off(tokens * embedded // rows) if rows and tokens else before.tokens,
        seconds=round_off(round(embedded / rate)) if rate else before.seconds,
        storage=before.storage,
    )


def round_off(number: int) -> int:
    """To two digits, so that it is the same at the next look."""
    return round(number, DIGITS - len(str(number)))


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)
