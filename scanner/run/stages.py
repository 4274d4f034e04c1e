"""Threads on either side of the scan: batches are made ahead of it, and what comes out is written behind it.

Each side is one thread, and order is kept. ONNX Runtime and its like let other threads run while they compute.
"""

import collections
import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def made_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, each made in another thread while the one before it is in use; errors are raised here.

    At most one item is made that is never asked for. Closing it waits for that one.
    """
    end = object()
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # not `end`


class _Abandoned(BaseException):
    """Raised within the consumer when no more will come, so that it leaves nothing half done behind."""


class Behind(Generic[T, R]):
    """A function that consumes items in another thread. As a context, it abandons the function unless `finish` came.

    Args:
        consume: is given an iterator of what is `put`. If it raises, the error is raised by the next `put` or `finish`.
        waiting: how many items may wait before `put` does.
    """

    def __init__(self, consume: Callable[[Iterator[T]], R], *, waiting: int = 2) -> None:
        self._consume = consume
        self._items: queue.SimpleQueue[tuple[T] | type[StopIteration] | type[_Abandoned]] = queue.SimpleQueue()
        self._room = threading.Semaphore(waiting)
        self._result: R
        self._error: BaseException | None = None
        self._finished = False
        # Not `Thread.join`: interrupted by a signal, it takes a running thread for ended (CPython 3.11).
        self._ended = threading.Event()
        # A daemon, since a second signal may keep `__exit__` from ending it.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item, then wait while too many wait: a signal that ends the waiting does not lose the item."""
        self._raise()
        self._items.put((item,))
        self._room.acquire()

    def finish(self) -> R:
        """Say that there are no more items, and wait for the function's result."""
        self._end(StopIteration)
        self._raise()
        return self._result

    def __enter__(self) -> "Behind[T, R]":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._finished:
            self._end(_Abandoned)

    def _end(self, how: type[StopIteration] | type[_Abandoned]) -> None:
        self._items.put(how)
        self._ended.wait()
        self._finished = True

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        items = self._taken()
        try:
            self._result = self._consume(items)
        except BaseException as error:
            self._error = error
            with contextlib.suppress(_Abandoned):
                collections.deque(items, maxlen=0)  # so that `put` never waits for a consumer that is gone
        finally:
            self._ended.set()

    def _taken(self) -> Iterator[T]:
        while isinstance(item := self._items.get(), tuple):
            self._room.release()
            yield item[0]
        if item is _Abandoned:
            raise _Abandoned
