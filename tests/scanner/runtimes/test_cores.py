"""Cores by affinity and by the quotas of control groups, of both versions."""

import os
from pathlib import Path

import pytest

from memscan.scanner.runtimes.cores import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def machine(root: Path, groups: str, **files: str) -> int:
    """The cores of a process in `groups` on a machine with these files of control groups, by their paths."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return usable_cores(root)


def test_without_control_groups_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("6400000 100000", 8), ("", 8)],
)
def test_version_2_has_quota_and_period_in_one_file(quota: str, cores: int, tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/\n", **{"cpu.max": quota}) == cores


def test_the_narrowest_of_nested_groups_holds(tmp_path: Path) -> None:
    files = {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "max 100000", "cpu.max": "max 100000"}
    assert machine(tmp_path, "0::/pod/box\n", **files) == 3


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 3), ("0", 8)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1_has_a_file_for_each(controllers: str, quota: str, cores: int, tmp_path: Path) -> None:
    files = {f"{controllers}/cpu.cfs_quota_us": quota, f"{controllers}/cpu.cfs_period_us": "100000"}
    assert machine(tmp_path, f"9:memory:/x\n4:{controllers}:/docker/abc\n0::/\n", **files) == cores


def test_a_path_that_leaves_the_mount_is_not_followed(tmp_path: Path) -> None:
    """As seen from a namespace of control groups that the process was moved out of."""
    (tmp_path / "sys/fs").mkdir(parents=True)
    (tmp_path / "sys/fs/cpu.max").write_text("100000 100000")
    assert machine(tmp_path, "0::/../other\n", **{"cpu.max": "500000 100000"}) == 5
