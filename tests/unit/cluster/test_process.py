from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import ClusterError, layout, process


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(layout, "NAME", f"test-{os.getpid()}")
    monkeypatch.setattr(layout, "LOGS", tmp_path)
    yield
    process.kill(found.pid for found in process.running())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_is_found_by_its_mark_until_it_dies() -> None:
    pid = process.spawn("sleeper", ["sleep", "60"], "f1")
    until(lambda: "sleeper" in process.leaders())  # while `env` becomes the program, the kernel shows no environment
    found = process.leaders()["sleeper"]
    assert (found.pid, found.fingerprint, found.leader) == (pid, "f1", True)
    process.kill([pid])
    assert process.leaders() == {}
    assert not process.alive(pid)


def test_its_children_are_ours_but_not_the_part() -> None:
    process.spawn("parent", ["sh", "-c", "sleep 60 & echo started; wait"], "f1")
    until(lambda: process.log_of("parent").read_text() == "started\n")
    assert sorted(found.leader for found in process.running()) == [False, True]
    assert len(process.leaders()) == 1


def test_it_has_its_own_session_and_holds_no_folder_of_ours() -> None:
    pid = process.spawn("sleeper", ["sleep", "60"], "f1")
    process.spawn("other", ["sleep", "60"], "f1")
    assert os.getsid(pid) == pid
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_a_long_log_is_put_aside_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LOG_BYTES", 3)
    process.log_of("sleeper").write_text("long")
    process.spawn("sleeper", ["sleep", "60"], "f1")
    assert process.log_of("sleeper.old").read_text() == "long"
    assert process.log_of("sleeper").read_text() == ""


def test_a_program_that_is_not_there_is_dead_and_its_log_says_why() -> None:
    pid = process.spawn("nothing", ["/no/such/program"], "f1")
    until(lambda: not process.alive(pid))
    assert "/no/such/program" in process.log_of("nothing").read_text()


def test_killing_the_dead_is_no_error() -> None:
    pid = process.spawn("sleeper", ["sleep", "60"], "f1")
    process.kill([pid])
    try:
        process.kill([pid])
    except ClusterError as error:
        pytest.fail(str(error))
