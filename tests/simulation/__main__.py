"""`python -m simulation --count 1000`: lives of an index, by seeds one after the other; `--seed n` tells one in full."""

import argparse
import os
import random
import sys

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what a seed decides; and nothing here takes threads
    settings = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], os.environ | settings)  # noqa: S606

from .hunt import found, hunt
from .sweep import sweep, tell


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell this one in full")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--fresh", type=int, default=0, help="and so many by seeds that nobody has seen")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin none after so long")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--mutants", action="store_true", help="whether faults in the code are found by the lives on record")
    parser.add_argument("--hunt", nargs="*", metavar="MUTANT", help="look for lives that find these; none = all of them")
    chosen = parser.parse_args()
    if chosen.mutants:
        return found()
    if chosen.hunt is not None:
        return hunt(chosen.hunt, range(chosen.first, chosen.first + chosen.count))
    if chosen.seed is not None:
        return tell(chosen.seed)
    seeds = [range(chosen.first, chosen.first + chosen.count)]
    if chosen.fresh:
        unseen = random.SystemRandom().randrange(10**6, 10**9)
        seeds.append(range(unseen, unseen + chosen.fresh))
    return sum(sweep(some, chosen.seconds / len(seeds), chosen.processes) for some in seeds if some)


if __name__ == "__main__":
    sys.exit(main())
