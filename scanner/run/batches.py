"""From the rows of a manifest to the batches of a scan, prepared; a batch never holds rows of two parts."""

import dataclasses
from collections.abc import Callable, Container, Iterator

from memscan.scanner.input.manifest import Manifest
from memscan.scanner.input.parts import cut
from memscan.scanner.input.rows import RawRow, parse_row
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.scan.batch_ceiling import BatchCeiling
from memscan.scanner.scan.prepare import Prepared


@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples of the part `part`; `digests` are those of its rows that were read for this batch.

    `last` says that the part ends with it.
    """

    part: int
    prepared: tuple[Prepared, ...]
    rejected: tuple[Rejected, ...]
    digests: tuple[bytes, ...]
    last: bool

    @property
    def images(self) -> int:
        return len(self.prepared) + len(self.rejected)


Prepare = Callable[[Sample], Prepared | Rejected]


def batches(
    manifest: Manifest, shard_rows: int, done: Container[int], prepare: Prepare, ceiling: BatchCeiling
) -> Iterator[Batch]:
    """All batches of the parts that are not `done`; at least one for each, though all of its rows be rejected.

    Raises:
        ManifestError: a row group cannot be read.
    """
    for number, rows in cut(manifest, shard_rows):
        if number not in done:
            yield from _batches_of(number, rows, prepare, ceiling)


def _batches_of(
    number: int, rows: Iterator[tuple[int, RawRow]], prepare: Prepare, ceiling: BatchCeiling
) -> Iterator[Batch]:
    prepared: list[Prepared] = []
    rejected: list[Rejected] = []
    digests: list[bytes] = []
    for index, raw in rows:
        row = parse_row(index, raw)
        digests.append(row.digest)
        for item in row.items:
            outcome = item if isinstance(item, Rejected) else prepare(item)
            if isinstance(outcome, Rejected):
                rejected.append(outcome)
                continue
            if len(prepared) >= ceiling.size:
                yield Batch(number, tuple(prepared), tuple(rejected), tuple(digests), last=False)
                prepared, rejected, digests = [], [], []
            prepared.append(outcome)
    yield Batch(number, tuple(prepared), tuple(rejected), tuple(digests), last=True)
