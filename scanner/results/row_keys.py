"""Rows of results and maps by their key: which are good, and those of a table that are wanted."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from memscan.scanner.results import layout
from memscan.scanner.results.store import Store
from memscan.scanner.results.torn import parquet
from memscan.scanner.samples import RowKey

_KEY = ("row", "seed", "step_index")


class Fates(NamedTuple):
    """The rows of a part's results by their status: ok or screened, or error."""

    good: frozenset[RowKey]
    failed: frozenset[RowKey]


def fates(store: Store, number: int) -> Fates:
    """Those of the part `number`; raises as `parquet`."""
    with parquet(store, layout.results_part(number)) as file:
        table = file.read([*_KEY, "status"], use_threads=False)
    failed = frozenset(row_keys(table.filter(pc.equal(table["status"], "error"))))
    return Fates(frozenset(row_keys(table)) - failed, failed)


def chosen(batches: Iterable[pa.RecordBatch], wanted: Callable[[RowKey], bool]) -> Iterator[pa.RecordBatch]:
    """Those rows of results or maps that are `wanted`, as they are."""
    for batch in batches:
        mask = [wanted(key) for key in row_keys(batch)]
        yield batch if all(mask) else batch.filter(pa.array(mask, pa.bool_()))


def row_keys(table: pa.Table | pa.RecordBatch) -> Iterator[RowKey]:
    """The key of each row of a table of results or maps."""
    return zip(*(table[name].to_pylist() for name in _KEY), strict=True)
