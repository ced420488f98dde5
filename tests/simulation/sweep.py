"""Lives by the thousand, by seeds one after the other."""

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial

from .run import Outcome, run, substitute

SAYS_SECONDS = 10.0
"""How often a long sweep says how far it is."""


def tell(seed: int) -> int:
    """One in full."""
    substitute()
    outcome = run(seed, talks=True)
    print("\n".join(outcome.lines))
    print(f"seed {seed}: {'; '.join(outcome.failures) or 'all that must hold has held'}")
    return int(bool(outcome.failures))


def sweep(seeds: range, seconds: float, processes: int) -> int:
    """Whether one ended badly. It may be interrupted, and says where to go on."""
    said = begun = time.monotonic()
    lives = switches = failed = 0
    print(f"{len(seeds):,} lives from seed {seeds.start}", flush=True)
    for outcome in _outcomes(seeds, begun + seconds, processes):
        lives += 1
        switches += outcome.switches
        if outcome.failures:
            failed += 1
            print(
                f"seed {outcome.seed}: {outcome.failures[0]}\n  to see it again: {_command(f'--seed {outcome.seed}')}",
                flush=True,
            )
        if time.monotonic() - said > SAYS_SECONDS:
            said = time.monotonic()
            left = (said - begun) / lives * (len(seeds) - lives)
            print(f"  {lives:,} lives, {failed} failed; {left / 60:.0f} minutes to go", flush=True)
    print(f"{lives:,} lives, {switches:,} switches, {failed} failed, {time.monotonic() - begun:.0f} s")
    if lives < len(seeds):
        print(f"to go on: {_command(f'--first {seeds.start + lives} --count {len(seeds) - lives}')}")
    return int(bool(failed))


def _outcomes(seeds: range, until: float, processes: int) -> Iterator[Outcome]:
    """In the order of the seeds, until all are done, time is over or somebody interrupts."""
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        try:
            for outcome in pool.imap(partial(_run, until), seeds, 4):
                if outcome is None:
                    return
                yield outcome
        except KeyboardInterrupt:
            print("interrupted", flush=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    substitute()


def _run(until: float, seed: int) -> Outcome | None:
    return run(seed) if time.monotonic() < until else None


def _command(arguments: str) -> str:
    return f"PYTHONPATH=operator:serving:tests {sys.executable} -m simulation {arguments}"
