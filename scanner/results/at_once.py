"""Many files of a store, as many of them at a time as it is best read: a disk one by one, an object store several."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from memscan.scanner.results.store import Store

_CHUNK = 1024

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_order(store: Store, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """What `function` says of each item, in their order; it reads from the store, and its errors come out here."""
    if store.at_once == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(store.at_once) as threads:
        for start in range(0, len(items), _CHUNK):
            yield from threads.map(function, items[start : start + _CHUNK])
