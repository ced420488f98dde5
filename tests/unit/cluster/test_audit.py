from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from cluster.audit import events

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(name: str, received: str) -> str:
    return json.dumps({"auditID": name, "requestReceivedTimestamp": received}) + "\n"


def test_rotated_files_come_first_and_older_events_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(line("new", "2026-01-01T12:00:02.000000Z"))
    rotated = tmp_path / "audit-2026-01-01T12-00-01.500.log"
    rotated.write_text(line("old", "2026-01-01T11:59:59.999999Z") + line("edge", "2026-01-01T12:00:00.000000Z"))
    assert [event["auditID"] for event in events(log, NOON)] == ["edge", "new"]


def test_a_line_that_is_being_written_waits_for_the_next_look(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text(line("whole", "2026-01-01T12:00:01.000000Z") + '{"auditID": "ha')
    assert [event["auditID"] for event in events(log, NOON)] == ["whole"]


def test_no_log_yet_is_no_events(tmp_path: Path) -> None:
    assert list(events(tmp_path / "audit.log", NOON)) == []
