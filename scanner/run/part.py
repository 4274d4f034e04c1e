"""One part of a run: a fixed range of manifest rows, scanned and committed as a whole.

Its maps and images are committed before its results, because the results file *is* the record that the part is done.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from memscan.scanner.input.parts import input_digest
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.finished import DIGEST_KEY
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.tally import Tally, tally
from memscan.scanner.run.batches import Batch
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import measured_steps
from memscan.scanner.samples import Scanned


class ScannedBatch(NamedTuple):
    """A batch with what came out of it: several `Scanned` where it did not fit into memory as a whole."""

    batch: Batch
    scanned: tuple[Scanned, ...]


def write_parts(job: Job, folder: OutputFolder, schema: pa.Schema, batches: Iterator[ScannedBatch]) -> Tally:
    """Write and commit part after part.

    Args:
        schema: that of the job's result files.
        batches: in order; all those of a part, or the error that it raises leaves nothing of that part behind.
    """
    total = Tally()
    for first in batches:
        total += Part(job, folder, schema, first.batch.part).write(itertools.chain([first], batches))
    return total


class Part:
    """The part `number` of a job; `schema` is that of the job's result files."""

    def __init__(self, job: Job, folder: OutputFolder, schema: pa.Schema, number: int) -> None:
        self._job = job
        self._folder = folder
        self._schema = schema
        self._number = number
        steps = measured_steps(job.bundle, job.measurement)
        names = job.measurement.mask_map, job.measurement.score_name
        self._maker = BatchMaker(schema, job.bundle.model_id, *names, steps)

    def write(self, batches: Iterator[ScannedBatch]) -> Tally:
        """Take the part's batches up to its last, and commit what came out of them."""
        results: list[pa.RecordBatch] = []
        digests: list[bytes] = []
        with self._maps() as maps:
            for batch, all_scanned in batches:
                digests += batch.digests
                results += self._maker.rejected(batch.rejected)
                for scanned in all_scanned:
                    results += self._maker.scanned(scanned)
                    if maps:
                        maps.add(scanned)
                    self._save_images(scanned)
                if batch.last:
                    break
        return self._commit(results, digests)

    @contextlib.contextmanager
    def _maps(self) -> Iterator[MapsWriter | None]:
        if not self._job.measurement.save_maps:
            yield None
            return
        with self._folder.writing(self._folder.maps_part(self._number)) as stream:
            writer = MapsWriter(
                stream, self._schema.metadata, tuple(step.index for step in self._job.measurement.steps)
            )
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _save_images(self, scanned: Scanned) -> None:
        for sample, image in zip(scanned.samples, scanned.images or (), strict=scanned.images is not None):
            with self._folder.writing(self._folder.image(sample.row, sample.seed)) as stream:
                Image.fromarray(image).save(stream, "PNG")

    def _commit(self, results: list[pa.RecordBatch], digests: list[bytes]) -> Tally:
        metadata = self._schema.metadata | {DIGEST_KEY.encode(): input_digest(digests).encode()}
        table = pa.Table.from_batches(results, self._schema)
        table = table.sort_by([(name, "ascending") for name in ("row", "seed", "step_index")])
        table = table.replace_schema_metadata(metadata)
        encoded = pa.BufferOutputStream()
        pq.write_table(table, encoded, compression="zstd", write_page_checksum=True)
        with self._folder.writing(self._folder.results_part(self._number)) as stream:
            stream.write(encoded.getvalue())
        return tally(table)
