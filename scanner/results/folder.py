"""The output folder of a run: its parts, its mark of success, and what lies in it without being named by any result."""

import itertools
from collections.abc import Collection, Iterator

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.results import layout
from memscan.scanner.results.part_file import PartRecord
from memscan.scanner.results.store import Store
from memscan.scanner.results.torn import parquet


class OutputFolder:
    """An output folder in a store. Opening it touches nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.path = store.path

    def parts(self) -> set[int]:
        """Numbers of the parts that have a file of results; it may be torn.

        Raises:
            ResumeRefused: there are Parquet files among results or maps that no run has written.
        """
        return {*self._numbers(layout.RESULTS)}

    def maps(self) -> set[int]:
        """Numbers of the parts that have a file of maps; otherwise as `parts`."""
        return {*self._numbers(layout.MAPS)}

    def record_of(self, number: int) -> PartRecord:
        """What a part says of itself, without reading its rows; raises as `parquet`, and as `from_metadata`."""
        with parquet(self.store, layout.results_part(number)) as file:
            return PartRecord.from_metadata(file.schema_arrow.metadata)

    def unnamed(self, own: Collection[int], count: int) -> Iterator[str]:
        """Maps and images beyond the `count` parts of a run, and those that records of its `own` parts do not name."""
        for number in sorted(self.maps()):
            if number >= count:
                yield layout.maps_part(number)
        for part, names in itertools.groupby(self.store.names(layout.IMAGES), layout.part_of_image):
            if part is not None and (part in own or part >= count):
                named = (
                    {layout.image(part, name) for name in self.record_of(part).images or ()} if part < count else set()
                )
                yield from [name for name in names if name not in named]

    @property
    def complete(self) -> bool:
        """Whether the mark of a finished run is there."""
        try:
            self.store.open(layout.SUCCESS).close()
        except FileNotFoundError:
            return False
        return True

    @property
    def summarized(self) -> bool:
        """Whether there is a summary of the run."""
        return layout.SUMMARY in self.store.names(layout.SUMMARY)

    def mark_complete(self) -> None:
        """Say to readers that nothing is missing. The mark is empty: some read every file of the folder as data."""
        with self.store.writing(layout.SUCCESS):
            pass

    def unmark_complete(self) -> None:
        """Take the mark back, before something is done again."""
        self.store.retract(layout.SUCCESS)

    def _numbers(self, prefix: str) -> Iterator[int]:
        for name in self.store.names(prefix):
            number = layout.part_number(name)
            if number is not None:
                yield number
            elif layout.read_as_table(name):
                raise ResumeRefused(f"{self.path / name} is no file of a run, but would be read as one: move it away")
