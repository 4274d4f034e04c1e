"""One part of a run, scanned and committed as a whole.

Its maps and images are committed before its results, because the results file *is* the record that the part is done. Of
a part whose results are whole only what is missing is written.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
from PIL import Image

from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.results import layout
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.finished import Found
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.part_file import WRITTEN, PartRecord, image_digest, write_part
from memscan.scanner.results.store import Together
from memscan.scanner.results.tally import Tally, tally
from memscan.scanner.results.torn import parquet
from memscan.scanner.run.batches import Batch
from memscan.scanner.run.cut import input_digest
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import measured_steps
from memscan.scanner.samples import Scanned


class ScannedBatch(NamedTuple):
    """A batch with what came out of it: several `Scanned` where it did not fit into memory as a whole."""

    batch: Batch
    scanned: tuple[Scanned, ...]

    @property
    def fates(self) -> Tally:
        """The batch's images by their fate."""
        errors = [item.error for item in self.batch.rejected]
        for scanned in self.scanned:
            for of_steps in zip(*(step.errors for step in scanned.steps), strict=True):
                errors += [error for error in of_steps if error is not None][:1]
        return Tally(self.batch.images - len(errors), len(errors)) + Tally(reasons=tuple(errors))


@dataclasses.dataclass(frozen=True)
class Work:
    """What is left of a share: `extents` of the parts to do, by number, and what was `found` of some of them.

    `schema` is that of the job's result files.
    """

    job: Job
    folder: OutputFolder
    schema: pa.Schema
    extents: Mapping[int, Extent]
    found: Mapping[int, Found]


def write_parts(work: Work, batches: Iterator[ScannedBatch]) -> Tally:
    """Write and commit part after part.

    Args:
        batches: in order; all those of a part, or the error that it raises leaves nothing of that part behind.
    """
    total = Tally()
    for first in batches:
        total += Part(work, first.batch.part).write(itertools.chain([first], batches))
    return total


class Part:
    """The part `number` of the work to do."""

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._store = work.folder.store
        self._number = number
        self._found = work.found.get(number)
        measurement = work.job.measurement
        self._saves_maps = measurement.save_maps and (self._found is None or self._found.lost_maps)
        steps = measured_steps(work.job.bundle, measurement)
        names = measurement.mask_map, measurement.score_name
        self._maker = BatchMaker(work.schema, work.job.bundle.model_id, *names, steps)

    def write(self, batches: Iterator[ScannedBatch]) -> Tally:
        """Take the part's batches up to its last, and commit what came out of them."""
        results: list[pa.RecordBatch] = []
        digests: list[bytes] = []
        images: dict[str, str] = {}
        with self._maps() as maps, self._store.together() as files:
            for batch, all_scanned in batches:
                digests += batch.digests
                results += self._maker.rejected(batch.rejected)
                for scanned in all_scanned:
                    results += self._maker.scanned(scanned)
                    if maps:
                        maps.add(scanned)
                    images |= self._save_images(scanned, files)
                if batch.last:
                    break
        if self._found is not None:
            return self._keep(self._found, images)
        extent, counted = self._work.extents[self._number], tally(results)
        if counted.images != extent.images:
            raise EnvironmentFailed(
                f"part {self._number} came out with {counted.images} images in place of {extent.images}: "
                "it is not kept; run the same command again"
            )
        self._commit(results, PartRecord(input_digest(digests), extent, counted, images))
        return counted

    @contextlib.contextmanager
    def _maps(self) -> Iterator[MapsWriter | None]:
        if not self._saves_maps:
            yield None
            return
        steps = tuple(step.index for step in self._work.job.measurement.steps)
        with self._store.writing(layout.maps_part(self._number)) as stream:
            writer = MapsWriter(stream, self._work.schema.metadata, steps)
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _save_images(self, scanned: Scanned, files: Together) -> dict[str, str]:
        """Add the images that are not there to `files`; returns their digests by name."""
        digests = {}
        for sample, image in zip(scanned.samples, scanned.images or (), strict=scanned.images is not None):
            name = layout.image_name(sample.row, sample.seed)
            if self._found is None or name in self._found.lost_images:
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, "PNG")
                files.write(layout.image(self._number, name), encoded.getvalue())
                digests[name] = image_digest(encoded.getvalue())
        return digests

    def _keep(self, found: Found, images: Mapping[str, str]) -> Tally:
        """Leave the results as they are, but for the digests of images that came out otherwise than before."""
        record = dataclasses.replace(found.record, images={**found.record.images, **images})
        if record != found.record:
            with parquet(self._store, layout.results_part(self._number)) as file:
                batches = list(file.iter_batches(use_threads=False))
            self._commit(batches, record)
        return found.tally

    def _commit(self, batches: list[pa.RecordBatch], record: PartRecord) -> None:
        written = datetime.now(UTC).isoformat(timespec="seconds").encode()
        metadata = self._work.schema.metadata | record.to_metadata() | {WRITTEN: written}
        schema = self._work.schema.with_metadata(metadata)
        with self._store.writing(layout.results_part(self._number)) as stream:
            write_part(stream, batches, schema)
