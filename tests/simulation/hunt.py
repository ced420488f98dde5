"""Looks for lives that end badly with a fault in the code: each in a fork of this process, which the fault ends with."""

import multiprocessing
import sys
from collections.abc import Sequence

from .mutants import MUTANTS, Mutant, apply
from .run import run, substitute

FOUND = 3


def found() -> int:
    """Whether every mutant is found by the life that is on record, which lives well without it."""
    on_record = {mutant: mutant.seed for mutant in MUTANTS if mutant.seed is not None}
    missed = [mutant.name for mutant, seed in on_record.items() if not hunted(mutant, [seed])]
    for name in missed:
        print(f"nobody misses it: {name}")
    bad = hunted(None, sorted(set(on_record.values())))
    told = f"{len(on_record) - len(missed)} of {len(on_record)} mutants are found"
    print(f"{told}, {len(MUTANTS) - len(on_record)} have no life on record")
    return int(bool(missed) or bad)


def hunt(names: Sequence[str], seeds: Sequence[int]) -> int:
    """Tells the first life that finds each."""
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            hunted(mutant, seeds)
    return 0


def hunted(mutant: Mutant | None, seeds: Sequence[int]) -> bool:
    """Whether one of these lives ends badly; None: in the code as it is."""
    process = multiprocessing.get_context("fork").Process(target=_lives, args=(mutant, seeds))
    process.start()
    process.join()
    assert process.exitcode in (0, FOUND), f"{mutant and mutant.name} cannot be tried: {process.exitcode}"
    return process.exitcode == FOUND


def _lives(mutant: Mutant | None, seeds: Sequence[int]) -> None:
    name = mutant.name if mutant else "the code as it is"
    if mutant:
        apply(mutant)
    substitute()
    for seed in seeds:
        outcome = run(seed)
        if outcome.failures:
            print(f"{name}: seed {seed}: {outcome.failures[0]}", flush=True)
            sys.exit(FOUND)
    print(f"{name}: nothing in {len(seeds)} lives", flush=True)
