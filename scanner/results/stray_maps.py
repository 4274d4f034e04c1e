"""Maps without a result: what a process left that was killed between the maps and the results of a part done again."""

from memscan.scanner.results import layout
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.row_keys import chosen, fates, row_keys
from memscan.scanner.results.store import Store
from memscan.scanner.results.torn import parquet


def drop_stray_maps(store: Store, number: int) -> None:
    """Take those maps out of a part's file whose row of results is not ok, so that the two agree.

    Raises:
        Torn: a file is not whole.
    """
    good, name = fates(store, number).good, layout.maps_part(number)
    with parquet(store, name) as file:
        keys = set(row_keys(file.read(["row", "seed", "step_index"], use_threads=False)))
        if keys <= good:
            return
        with store.writing(name) as stream, MapsWriter(stream, file.schema_arrow.metadata, ()) as writer:
            for batch in chosen(file.iter_batches(use_threads=False), good.__contains__):
                writer.keep(batch)
