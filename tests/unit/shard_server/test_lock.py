import threading
from pathlib import Path

import pytest

from embedding_serving.shard.lock import VolumeLock, VolumeTaken


def test_a_volume_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first = VolumeLock.take(tmp_path, wait_seconds=0)
    with pytest.raises(VolumeTaken, match="must end first"):
        VolumeLock.take(tmp_path, wait_seconds=0)
    first.release()
    VolumeLock.take(tmp_path, wait_seconds=0).release()


def test_a_successor_waits_for_the_end_of_the_holder(tmp_path: Path) -> None:
    first = VolumeLock.take(tmp_path, wait_seconds=0)
    timer = threading.Timer(0.2, first.release)
    timer.start()
    VolumeLock.take(tmp_path, wait_seconds=20).release()
    timer.join()


def test_a_volume_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        VolumeLock.take(tmp_path / "nowhere", wait_seconds=0)
