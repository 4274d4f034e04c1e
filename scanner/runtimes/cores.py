"""How many processor cores this process may use."""

import os


def usable_cores() -> int:
    """The size of the affinity mask, which, unlike the core count, knows what a container or taskset leaves."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
