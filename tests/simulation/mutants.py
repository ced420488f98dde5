"""Faults put into the shipped code, one at a time: what the simulation is worth is how many of them it finds.

They are in mutants.txt, where each breaks one sentence of the protocol. Where the text that a change replaces is gone, the
mutant says so and is to be written anew.
"""

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

PACKAGES = {"shard": "embedding_serving", "gateway": "embedding_serving", "plan": "embedding_operator"}


@dataclass(frozen=True)
class Change:
    """at: `module:function` or `module:Class.method`."""

    at: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """seed: of a life that ends badly with it and well without. test: what finds it where no life does, and why."""

    name: str
    breaks: str
    seed: int | None
    test: str
    changes: tuple[Change, ...]


def apply(mutant: Mutant) -> None:
    """In this process, for good. In place, so that whoever holds a function has the new one."""
    for at in dict.fromkeys(change.at for change in mutant.changes):
        function, namespace = _found(at)
        lines = textwrap.dedent(inspect.getsource(function)).splitlines(keepends=True)
        while lines[0].startswith("@"):
            del lines[0]
        text = "".join(lines)
        for change in mutant.changes:
            if change.at == at:
                assert change.old in text, f"mutant {mutant.name!r}: {at} has no {change.old!r} any more"
                text = text.replace(change.old, change.new)
        made: dict[str, Any] = {}
        exec(compile(text, f"<{mutant.name}>", "exec"), namespace, made)  # noqa: S102
        (other,) = made.values()
        function.__code__ = other.__code__


def _found(at: str) -> tuple[FunctionType, dict[str, Any]]:
    module_name, _, path = at.partition(":")
    module = importlib.import_module(module_name)
    found: Any = module
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    found = inspect.unwrap(found)
    assert isinstance(found, FunctionType), at
    return found, vars(module)


def _read(text: str) -> tuple[Mutant, ...]:
    _, *parts = text.split("\n# ")
    return tuple(_mutant(part.splitlines()) for part in parts)


def _mutant(lines: list[str]) -> Mutant:
    said: dict[str, str] = {}
    changes: list[tuple[str, list[str], list[str]]] = []
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        match word:
            case "in":
                changes.append((rest, [], []))
            case "-":
                if changes[-1][2]:
                    changes.append((changes[-1][0], [], []))
                changes[-1][1].append(rest)
            case "+":
                changes[-1][2].append(rest)
            case _ if line and not line.startswith("##"):
                said[word] = rest
    made = tuple(Change(_module(at), "\n".join(old), "\n".join(new)) for at, old, new in changes)
    belts = NO_DIGESTS if "without" in said else ()
    return Mutant(lines[0], said[">"], int(said["seed"]) if "seed" in said else None, said.get("test", ""), (*belts, *made))


def _module(at: str) -> str:
    package = PACKAGES.get(at.partition(".")[0])
    return f"{package}.{at}" if package else at


NO_DIGESTS = (
    Change("embedding_operator.plan.following:digests_agree", "return _sum(writers) == _sum(readers)", "return True"),
    Change("embedding_serving.shard.store.protocol:_prepare", "if message.digest is not None and", "if False and"),
)
"""The digest is a belt: it would hide what else is missing."""

MUTANTS = _read(Path(__file__).with_suffix(".txt").read_text())
