"""From the rows of parts to the batches of a scan, prepared; a batch never holds rows of two parts."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from memscan.scanner.input.manifest import Manifest
from memscan.scanner.input.rows import Row
from memscan.scanner.results.extent import Extent
from memscan.scanner.run.cut import rows_of
from memscan.scanner.samples import Key, Rejected, Sample
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.prepare import Prepared


@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples of the part `part`; `digests` are those of its rows that were read for this batch.

    `pictures` are the digests of what those rows bring, by row. `last` says that the part ends with it; such a batch
    may have rejected samples alone, or none.
    """

    part: int
    prepared: tuple[Prepared, ...]
    rejected: tuple[Rejected, ...]
    digests: tuple[bytes, ...]
    pictures: Mapping[int, str]
    last: bool

    @property
    def images(self) -> int:
        return len(self.prepared) + len(self.rejected)


Prepare = Callable[[Sequence[Sample]], Sequence[Prepared | Rejected]]
"""What becomes of each of the samples."""
Wanted = Callable[[Key], bool]


def batches(
    manifest: Manifest,
    parts: Sequence[tuple[int, Extent]],
    prepare: Prepare,
    ceiling: BatchCeiling,
    wanted: Callable[[int], Wanted] = lambda part: lambda key: True,
) -> Iterator[Batch]:
    """All batches of parts, given in order by number and extent; at least one for each, though nothing be to scan.

    Args:
        wanted: says of a part which of its images are scanned, by (row, seed).

    Samples are prepared a batch at a time.

    Raises:
        ManifestError: a row group cannot be read, or the manifest was changed.
    """
    groups = itertools.groupby(rows_of(manifest, parts), lambda item: item.part)
    for number, extent in parts:
        rows = (item.row for item in next(groups)[1]) if extent.images else iter(())
        yield from _batches_of(number, rows, prepare, ceiling, wanted(number))


def _batches_of(
    number: int, rows: Iterator[Row], prepare: Prepare, ceiling: BatchCeiling, wanted: Wanted
) -> Iterator[Batch]:
    waiting: list[Sample] = []
    prepared: list[Prepared] = []
    rejected: list[Rejected] = []
    digests: list[bytes] = []
    pictures: dict[int, str] = {}

    def prepare_all() -> None:
        for outcome in prepare(waiting):
            if isinstance(outcome, Rejected):
                rejected.append(outcome)
            else:
                prepared.append(outcome)
        waiting.clear()

    for row in rows:
        digests.append(row.digest)
        if row.picture is not None:
            pictures[row.items[0].row] = row.picture
        for item in row.items:
            if not wanted((item.row, item.seed)):
                continue
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            if len(prepared) + len(waiting) >= ceiling.size:
                prepare_all()
            if len(prepared) >= ceiling.size:
                yield Batch(number, tuple(prepared), tuple(rejected), tuple(digests), pictures, last=False)
                prepared, rejected, digests, pictures = [], [], [], {}
            waiting.append(item)
    prepare_all()
    yield Batch(number, tuple(prepared), tuple(rejected), tuple(digests), pictures, last=True)
