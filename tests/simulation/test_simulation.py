"""The rebuild under faults: thousands of lives of an index, each from a seed, and faults in the code that must be found.

In processes of their own, where clock, dice, network and disk are simulated. SIMULATION_SEED=n tells one life in full;
SIMULATION_FIRST=n begins the long run there.
"""

import os
import subprocess
import sys
from collections import deque

import pytest

SEED = os.environ.get("SIMULATION_SEED")
LONG = os.environ.get("FAULTS") == "long"
FIRST = os.environ.get("SIMULATION_FIRST", "1")
SHORT_RUN = ("--count", "1000", "--fresh", "1000", "--seconds", "240")
LONG_RUN = ("--first", FIRST, "--count", "100000")


def simulate(*arguments: str) -> None:
    """Tells how far it is, while it is on its way."""
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=60)
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line)
    assert process.returncode == 0, "".join(last)


def told(*arguments: str) -> str:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=True).stdout


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulation", *arguments]


@pytest.mark.timeout(40_000 if LONG else 600)
def test_every_acknowledged_operation_survives_every_rebuild() -> None:
    simulate("--seed", SEED) if SEED is not None else simulate(*(LONG_RUN if LONG else SHORT_RUN))


def test_a_seed_is_the_same_life_each_time() -> None:
    first, second = (told("--seed", "7") for _ in range(2))
    assert first == second
    assert len(first.splitlines()) > 100


def test_faults_in_the_code_are_found() -> None:
    simulate("--mutants")
