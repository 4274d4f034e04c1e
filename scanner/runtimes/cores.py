"""How many processor cores this process may use: those it may run on, and what its control groups leave of them.

A container's limit is a quota of processor time, which the affinity mask does not show: more threads than it pays for
are stopped for the rest of every period. Both versions of control groups are read; the narrowest of nested ones holds.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """The size of the affinity mask, or the quota of processor time, rounded up, if that is less.

    Args:
        root: where /proc and /sys are.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Quotas of processor time, in cores, of the process's control groups and those that they are in."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for group in _upwards(root / "sys/fs/cgroup", path):
                yield from _version_2(_read(group / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for group in _upwards(root / "sys/fs/cgroup" / controllers, path):
                yield from _version_1(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those above it: in a container the path may be the host's, and the mount the group."""
    group = PurePosixPath(path.lstrip("/"))
    if ".." not in group.parts:
        yield from (mount / one for one in (group, *group.parents))
    else:
        yield mount


def _version_2(text: str) -> Iterator[float]:
    words = text.split()
    if len(words) == 2:
        yield from _version_1(*words)  # "max" is no number


def _version_1(quota: str, period: str) -> Iterator[float]:
    try:
        time, of = int(quota), int(period)
    except ValueError:
        return
    if time > 0 and of > 0:
        yield time / of


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
