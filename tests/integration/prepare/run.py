"""Runs the real `python -m embedding_serving prepare` as a pod does, and waits for conditions instead of sleeping."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedding_serving.contract.reports import Outcome, Report
from embedding_serving.contract.settings import PrepareSettings, env_name, to_env

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    code: int
    report: Report
    log: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """The log, each line of which must be one JSON object."""
        return [json.loads(line) for line in self.log.splitlines()]


@dataclass
class Running:
    process: subprocess.Popen[str]
    termination: Path

    def end(self) -> Ended:
        _, log = self.process.communicate(timeout=DEADLINE_SECONDS)
        report = Report.parse(self.termination.read_text())
        assert report is not None
        return Ended(self.process.returncode, report, log)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_SECONDS)
        assert self.process.returncode == -9


def start(settings: PrepareSettings) -> Running:
    """`settings.termination_path` is replaced; the token travels in the environment, as from a Secret."""
    termination = Path(settings.weights_dir) / f"termination-{time.monotonic_ns()}"
    env = to_env(settings.model_copy(update={"termination_path": str(termination)}))
    if settings.hub_token:
        env[env_name("hub_token")] = settings.hub_token.get_secret_value()
    process = subprocess.Popen(
        [sys.executable, "-m", "embedding_serving", "prepare"],
        env={**{key: value for key, value in os.environ.items() if not key.startswith("EO_")}, **env},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Running(process, termination)


def run(settings: PrepareSettings) -> Ended:
    return start(settings).end()


def succeed(settings: PrepareSettings) -> Ended:
    ended = run(settings)
    assert (ended.code, ended.report.outcome) == (0, Outcome.PREPARED), ended.report.message
    return ended


def fail(settings: PrepareSettings, outcome: Outcome) -> Ended:
    ended = run(settings)
    assert (ended.code, ended.report.outcome) == (1, outcome), ended.report.message
    assert "Traceback" not in ended.log
    return ended


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)
