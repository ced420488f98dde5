"""What another generation costs, before it is begun and while it is built. Numbers are round: they are told, not billed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from embedding_serving.contract.admin import BuildState

from ..api.quantity import times, written
from ..resources import Manifest
from .shards import ShardWorld

BYTES_PER_TOKEN = 4
"""Of text, in languages that tokenizers were made for; others take up to three times as many tokens."""
DIGITS = 2
MEBI = 2**20


@dataclass(frozen=True)
class Pods:
    """What the pods of a generation request: bytes of memory, and devices."""

    memory: Decimal
    devices: int


@dataclass(frozen=True)
class Estimate:
    """None = not known. tokens: None also where vectors are copied. storage: all volumes, as a quantity."""

    documents: int
    tokens: int | None
    seconds: int | None
    storage: str
    memory: str
    gpus: int

    def status(self) -> Manifest:
        known = {"tokens": self.tokens, "seconds": self.seconds, "storage": self.storage, "memory": self.memory}
        known |= {"gpus": self.gpus or None}
        return {key: value for key, value in known.items() if value is not None}

    def __str__(self) -> str:
        parts = [f"about {_short(self.documents)} documents"]
        if self.tokens is not None:
            parts.append(f"{_short(self.tokens)} tokens to embed")
        if self.seconds is not None:
            parts[-1] += f" in about {_lasting(self.seconds)}"
        parts += [f"{self.storage} of further storage", f"{self.memory} of memory"]
        if self.gpus:
            parts.append(f"{self.gpus} GPUs or other devices")
        return ", ".join(parts)


def estimate(
    active: Iterable[ShardWorld], *, embeds: bool, tokens_per_second: int | None, size: str, volumes: int, pods: Pods
) -> Estimate | None:
    """Before it begins. None while not every shard says what it holds. tokens_per_second: of all encoders together."""
    infos = [shard.writer for shard in active]
    known = [info for info in infos if info]
    if len(known) < len(infos):
        return None
    tokens = sum(info.text_bytes for info in known) // BYTES_PER_TOKEN if embeds else None
    return Estimate(
        documents=round_off(sum(info.documents for info in known)),
        tokens=None if tokens is None else round_off(tokens),
        seconds=round_off(max(1, tokens // tokens_per_second)) if tokens and tokens_per_second else None,
        storage=times(size, volumes),
        memory=_bytes(pods.memory),
        gpus=pods.devices,
    )


def corrected(before: Estimate, builds: Sequence[BuildState], total_documents: int) -> Estimate:
    """By what was seen while it is built: tokens of a document, where the encoder counts them, and documents of a second."""
    rows, tokens = sum(one.rows for one in builds), sum(one.tokens for one in builds)
    embedded = max(0, total_documents - sum(one.reused for one in builds))
    rate = sum(one.rows_per_second for one in builds)
    return replace(
        before,
        tokens=round_off(tokens * embedded // rows) if rows and tokens else before.tokens,
        seconds=round_off(round(embedded / rate)) if rate else before.seconds,
    )


def round_off(number: int, digits: int = DIGITS) -> int:
    """To so many digits, so that it is the same at the next look."""
    return round(number, digits - len(str(number)))


def _bytes(number: Decimal) -> str:
    """Rounded up to whole Mi, and in Gi where they are whole too."""
    whole = math.ceil(number / MEBI)
    return written(Decimal(whole * MEBI), like="1Gi" if whole and whole % 1024 == 0 else "1Mi")


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def _lasting(seconds: int) -> str:
    """As kubectl writes ages: the largest unit of which there are two."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)}{unit}"
    return f"{seconds}s"
