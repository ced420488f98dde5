from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster import layout, volumes
from cluster.reclaimer import to_reclaim


def volume(name: str = "pool-00", phase: str = "Released", *, claimed: bool = True) -> dict[str, Any]:
    spec = {"claimRef": {"name": "gone"}} if claimed else {}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("seen", "wiped"),
    [
        (volume(), True),
        (volume(claimed=False), False),  # done already, its phase follows
        (volume(phase="Bound"), False),
        (volume(phase="Available", claimed=False), False),
        (volume(name="somebody-elses"), False),
        ({"metadata": {"name": "pool-00"}, "spec": {"claimRef": {}}}, False),  # too new to have a status
    ],
)
def test_only_released_volumes_of_the_pool_are_wiped(seen: dict[str, Any], wiped: bool) -> None:
    assert to_reclaim(seen) is wiped


def test_a_wiped_folder_is_new_and_empty(tmp_path: Path) -> None:
    folder = tmp_path / "pool" / "pool-00"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("of an earlier claim")
    folder.chmod(0o2770)
    volumes.wipe(folder)
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o7777 == 0o755
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_is_gone_is_made(tmp_path: Path) -> None:
    volumes.wipe(tmp_path / "pool" / "pool-00")
    assert (tmp_path / "pool" / "pool-00").is_dir()


def test_a_wipe_that_was_killed_is_finished_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "VOLUMES", tmp_path)
    (tmp_path / ".wiped-x" / "pool-00").mkdir(parents=True)
    (tmp_path / "pool-00").mkdir()
    volumes.clear_half_wiped()
    assert [path.name for path in tmp_path.iterdir()] == ["pool-00"]
