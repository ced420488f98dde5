"""Lives by the thousand, by seeds one after the other."""

import multiprocessing
import time
from functools import partial

from .run import Outcome, run, substitute


def tell(seed: int) -> int:
    """One in full."""
    substitute()
    outcome = run(seed, talks=True)
    print("\n".join(outcome.lines))
    print(f"seed {seed}: {'; '.join(outcome.failures) or 'all that must hold has held'}")
    return int(bool(outcome.failures))


def sweep(first: int, count: int, seconds: float, processes: int) -> int:
    begun = time.perf_counter()
    until = time.monotonic() + seconds
    lives, switches = 0, 0
    failed: list[int] = []
    with multiprocessing.get_context("spawn").Pool(processes, substitute) as pool:
        for outcome in pool.imap_unordered(partial(_run, until), range(first, first + count), 4):
            if outcome is None:
                continue
            lives += 1
            switches += outcome.switches
            if outcome.failures:
                failed.append(outcome.seed)
                print(f"seed {outcome.seed}: {outcome.failures[0]}", flush=True)
    took = time.perf_counter() - begun
    print(f"{lives} lives from seed {first}, {switches} switches, {len(failed)} failed, {took:.0f} s")
    if failed:
        print(f"to see one again: SIMULATION_SEED={min(failed)}, or python -m simulation --seed {min(failed)}")
    return int(bool(failed))


def _run(until: float, seed: int) -> Outcome | None:
    return run(seed) if time.monotonic() < until else None
