"""TensorRT's timing cache: what it measured of its kernels on this GPU, so that the next plan is built sooner.

One file for each version and GPU, shared by all builds; a build merges what it learnt under a lock. TensorRT-RTX times
nothing.
"""

import hashlib
from typing import Any

from memscan.scanner.runtimes.tensorrt.cache import PlanCache
from memscan.scanner.runtimes.tensorrt.key import PlanKey


class TimingCache:
    """The timing cache that belongs to a key, in the folder of plans."""

    def __init__(self, cache: PlanCache, key: PlanKey) -> None:
        device = f"{key.engine} {key.version} {key.gpu} {key.compute_capabilities}"
        self._name = f"timing-{hashlib.sha256(device.encode()).hexdigest()[:16]}"
        self._cache = cache

    def attach(self, config: Any) -> None:
        """Give the builder what is known."""
        self._attached = self._read(config)  # it must outlive the build
        config.set_timing_cache(self._attached, ignore_mismatch=False)

    def merge(self, config: Any) -> None:
        """Add what the builder has learnt to the file; what others have added in the meantime stays."""
        with self._cache.locked(self._name):
            merged = self._read(config)
            merged.combine(self._attached, ignore_mismatch=False)
            self._cache.write(self._name, memoryview(merged.serialize()))

    def _read(self, config: Any) -> Any:
        known = self._cache.read(self._name)
        # What TensorRT cannot read, it answers with None: then all is timed again.
        return (known and config.create_timing_cache(known)) or config.create_timing_cache(b"")
