"""The most device memory that is in use while something runs, whatever library it belongs to.

Engines have allocators of their own, so what counts is the device's word, asked every few milliseconds.
"""

import gc
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import torch

_INTERVAL = 0.005


def used_on_cuda() -> int:
    """Bytes in use on the device."""
    free, total = torch.cuda.mem_get_info()
    return total - free


class PeakMemory:
    """Measures while its block runs: `bytes` beyond what was in use before.

    Args:
        used: bytes in use on the device.
    """

    def __init__(self, used: Callable[[], int] = used_on_cuda) -> None:
        self._used = used
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Self:
        gc.collect()
        torch.cuda.empty_cache()
        self._before = self._used()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._note()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._note()

    def _note(self) -> None:
        self.bytes = max(self.bytes, self._used() - self._before)
