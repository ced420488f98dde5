"""Looks for lives that end badly with a fault in the code: each in a fork of this process, which the fault ends with."""

import multiprocessing
import sys
from collections.abc import Sequence

from .mutants import MUTANTS, Mutant, apply
from .run import run, substitute


def found() -> int:
    """Whether every mutant is found by the life that is on record."""
    missed = [mutant.name for mutant in MUTANTS if mutant.seed is not None and not hunted(mutant, [mutant.seed])]
    for name in missed:
        print(f"nobody misses it: {name}")
    known = sum(mutant.seed is not None for mutant in MUTANTS)
    print(f"{known - len(missed)} of {known} mutants are found, {len(MUTANTS) - known} have no life on record")
    return int(bool(missed))


def hunt(names: Sequence[str], seeds: Sequence[int]) -> int:
    """Tells the first life that finds each."""
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            hunted(mutant, seeds)
    return 0


def hunted(mutant: Mutant, seeds: Sequence[int]) -> bool:
    process = multiprocessing.get_context("fork").Process(target=_lives, args=(mutant, seeds))
    process.start()
    process.join()
    return process.exitcode == 1


def _lives(mutant: Mutant, seeds: Sequence[int]) -> None:
    apply(mutant)
    substitute()
    for seed in seeds:
        outcome = run(seed)
        if outcome.failures:
            print(f"{mutant.name}: seed {seed}: {outcome.failures[0]}", flush=True)
            sys.exit(1)
    print(f"{mutant.name}: not found in {len(seeds)} lives", flush=True)
