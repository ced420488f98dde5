import os
from pathlib import Path

import pytest

from embedding_serving.cpu import cpu_quota


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def quota(machine: Path, membership: str, files: dict[str, str]) -> int:
    (machine / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        path = machine / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return cpu_quota(machine / "cgroup", machine / "proc")


AFFINITY = len(os.sched_getaffinity(0))


def test_version_2_in_a_container(machine: Path) -> None:
    assert quota(machine, "0::/\n", {"cpu.max": "100000 100000\n"}) == 1


def test_a_limit_of_an_outer_group_counts(machine: Path) -> None:
    assert quota(machine, "0::/pods/pod1\n", {"pods/pod1/cpu.max": "max 100000\n", "pods/cpu.max": "150000 100000\n"}) == 1


def test_version_1(machine: Path) -> None:
    files = {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}
    assert quota(machine, "5:memory:/a\n4:cpu,cpuacct:/a\n", files) == 1


def test_half_a_cpu_is_one_worker(machine: Path) -> None:
    assert quota(machine, "0::/\n", {"cpu.max": "50000 100000\n"}) == 1


@pytest.mark.parametrize("files", [{"cpu.max": "max 100000\n"}, {"cpu.max": "99900000 100000\n"}, {}])
def test_without_a_quota_every_cpu_that_we_may_run_on(machine: Path, files: dict[str, str]) -> None:
    assert quota(machine, "0::/\n", files) == AFFINITY
    assert quota(machine, "4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n"} | files) == AFFINITY
