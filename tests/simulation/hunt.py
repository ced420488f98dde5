"""Looks for lives that end badly with a fault in the code: each in a fork of this process, which the fault ends with."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .mutants import MUTANTS, Mutant, apply
from .run import run, substitute

FOUND = 3
TESTS = Path(__file__).parents[1]


def found() -> int:
    """Whether every mutant is found: by the life that is on record, which is a good one without it, or by a test."""
    on_record = {mutant: mutant.seed for mutant in MUTANTS if mutant.seed is not None}
    missed = [mutant.name for mutant, seed in on_record.items() if not hunted(mutant, [seed])]
    tested = [mutant for mutant in MUTANTS if mutant.test]
    missed += [mutant.name for mutant in tested if not _in_a_fork(_test, mutant)]
    for name in missed:
        print(f"nobody misses it: {name}")
    bad = hunted(None, sorted(set(on_record.values())))
    tried = len(on_record) + len(tested)
    print(f"{tried - len(missed)} of {tried} mutants are found, {len(tested)} of them by a test alone")
    return int(bool(missed) or bad)


def hunt(names: Sequence[str], seeds: Sequence[int]) -> int:
    """Tells the first life that finds each."""
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            hunted(mutant, seeds)
    return 0


def hunted(mutant: Mutant | None, seeds: Sequence[int]) -> bool:
    """Whether one of these lives ends badly; None: in the code as it is."""
    return _in_a_fork(_lives, mutant, seeds)


def _in_a_fork(work: Callable[..., None], mutant: Mutant | None, *more: object) -> bool:
    process = multiprocessing.get_context("fork").Process(target=work, args=(mutant, *more))
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


def _test(mutant: Mutant) -> None:
    apply(mutant)
    os.chdir(TESTS.parent)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    code = pytest.main([str(TESTS / mutant.test), "-q", "-p", "no:cacheprovider"])
    print(
        f"{mutant.name}: {mutant.test}: {code.name if isinstance(code, pytest.ExitCode) else code}", file=sys.stderr, flush=True
    )
    sys.exit({pytest.ExitCode.OK: 0, pytest.ExitCode.TESTS_FAILED: FOUND}.get(pytest.ExitCode(code), 1))
