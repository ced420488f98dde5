"""The rebuild under faults: thousands of lives of an index, each from a seed, and faults in the code that must be found.

In processes of their own, where clock, dice, network and disk are simulated. SIMULATION_SEED=n tells one life in full.
"""

import os
import subprocess
import sys

import pytest

SEED = os.environ.get("SIMULATION_SEED")
LONG = os.environ.get("FAULTS") == "long"
LIVES, SECONDS = ("100000", "10000") if LONG else ("2000", "45")


def simulate(*arguments: str) -> None:
    told = subprocess.run([sys.executable, "-m", "simulation", *arguments], capture_output=True, text=True, check=False)
    print(told.stdout)
    assert told.returncode == 0, told.stdout[-4_000:] + told.stderr[-4_000:]


@pytest.mark.timeout(11_000)
def test_every_acknowledged_operation_survives_every_rebuild() -> None:
    simulate("--seed", SEED) if SEED is not None else simulate("--count", LIVES, "--seconds", SECONDS)


def test_faults_in_the_code_are_found() -> None:
    simulate("--mutants")
