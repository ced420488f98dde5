"""The benchmark of a rebuild, as small as can be: there and back again, and nothing that its clients asked for failed."""

import asyncio
from pathlib import Path

import pytest
from benchmarks.rebuild.clients import Words
from benchmarks.rebuild.report import STEPS
from benchmarks.rebuild.run import Plan, measured

from fixtures.models import SENTENCES

DOCUMENTS = 600
PLAN = Plan(
    documents=DOCUMENTS, model="tiny", rounds=1, seconds=0.5, search_seconds=1.0, switches=2, pause_seconds=0.5, share=0.9
)


def test_a_small_run_switches_there_and_back_and_fails_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    documents = [f"{SENTENCES[number % len(SENTENCES)]} {number}" for number in range(DOCUMENTS)]
    said: list[str] = []

    figures = asyncio.run(measured(PLAN, Words(documents, SENTENCES), said.append))

    assert [switch.name for switch in figures.switches] == ["promote", "rollback"]
    for switch in figures.switches:
        assert set(switch.steps) == set(STEPS)
        assert min(switch.writes.seconds, switch.idle_writes.seconds) > 0
        assert switch.writes.failures == switch.searches.failures == 0
    assert figures.blue_bytes
    assert figures.green_bytes
