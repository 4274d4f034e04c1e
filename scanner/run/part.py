"""One part of a run, scanned and committed as a whole.

Its maps and images are committed before its results, because the results file *is* the record that the part is done. A
part that has results keeps of them, and of its maps and images, what `Redo` says.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
from PIL import Image

from memscan.scanner.errors import EnvironmentFailed, ResumeRefused
from memscan.scanner.results import layout
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.finished import Found
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.part_file import WRITTEN, PartRecord, SavedImage, image_digest, write_part
from memscan.scanner.results.row_keys import chosen, fates
from memscan.scanner.results.store import Together
from memscan.scanner.results.tally import Tally, tally
from memscan.scanner.results.torn import parquet
from memscan.scanner.run.batches import Batch, Wanted
from memscan.scanner.run.cut import input_digest
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import measured_steps
from memscan.scanner.run.redo import Redo
from memscan.scanner.samples import Rejected, RowKey, Scanned, Screened


class ScannedBatch(NamedTuple):
    """A batch with what came out of it: several `Scanned` where it did not fit into memory as a whole.

    With screening, `scanned` are images of this batch and of earlier ones of its part, as many as make full batches;
    the part's last has all that are left.
    """

    batch: Batch
    scanned: tuple[Scanned, ...]
    screened: Screened = Screened((), ())

    @property
    def fates(self) -> Tally:
        """The images by their fate."""
        errors = [item.error for item in self.batch.rejected]
        done = len(errors)
        for scanned in self.scanned:
            done += len(scanned.samples)
            for of_steps in zip(*(step.errors for step in scanned.steps), strict=True):
                errors += [error for error in of_steps if error is not None][:1]
        screened = len(self.screened.samples)
        return Tally(done - len(errors), len(errors), screened=screened) + Tally(reasons=tuple(errors))


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

    def redo(self, number: int) -> Redo | None:
        """How a part is done again; None if it has no results. They are read now: of all parts, they may be many."""
        if number not in self.found:
            return None
        return Redo(self.found[number], fates(self.folder.store, number), self.job.retry_errors)

    def wanted(self, number: int) -> Wanted:
        """Which images of a part are scanned."""
        redo = self.redo(number)
        left_out = frozenset() if redo is None else redo.left_out()
        return lambda key: key not in left_out

    def images_left(self) -> int:
        """How many images of all its parts are scanned."""
        redos = (redo for number in self.extents if (redo := self.redo(number)))
        return sum(extent.images for extent in self.extents.values()) - sum(len(redo.left_out()) for redo in redos)


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
        self._redo = redo = work.redo(number)
        measurement = work.job.measurement
        self._saves_maps = measurement.save_maps and (redo is None or redo.found.lost_maps or redo.renews)
        self._maps_size = None if redo is None else redo.found.record.maps
        self._steps = tuple(step.index for step in measurement.steps)
        steps = measured_steps(work.job.bundle, measurement)
        names = measurement.mask_map, measurement.score_name
        clean, constants = work.job.clean_scores(), work.job.constants
        self._maker = BatchMaker(work.schema, work.job.bundle.model_id, *names, steps, clean, constants)

    def write(self, batches: Iterator[ScannedBatch]) -> Tally:
        """Take the part's batches up to its last, and commit what came out of them."""
        results: list[pa.RecordBatch] = []
        digests: list[bytes] = []
        pictures: dict[int, str] = {}
        images: dict[str, SavedImage] = {}
        with self._maps() as maps, self._store.together() as files:
            for batch, all_scanned, screened in batches:
                digests += batch.digests
                pictures |= batch.pictures
                self._refuse_lost(batch.rejected)
                results += self._maker.rejected(batch.rejected)
                results += self._maker.screened(screened)
                for scanned in all_scanned:
                    results += self._maker.scanned(scanned)
                    if maps:
                        maps.add(scanned, self._redo.maps if self._redo else _every)
                    images |= self._save_images(scanned, files)
                if batch.last:
                    break
        if self._redo is not None:
            kept = self._redo.found.record
            lost = {*self._redo.found.lost_images}
            images = {name: one for name, one in (kept.images or {}).items() if name not in lost} | images
            pictures = {**kept.pictures, **pictures}
            if not self._redo.renews:
                return self._keep(self._redo.found, self._named(images))
            with parquet(self._store, layout.results_part(self._number)) as file:
                old = list(chosen(file.iter_batches(use_threads=False), self._redo.keeps))
            results = [*old, *chosen(results, self._redo.replaces)]
        extent, counted = self._work.extents[self._number], tally(results)
        if counted.images != extent.images:
            raise EnvironmentFailed(
                f"part {self._number} came out with {counted.images} images in place of {extent.images}: "
                "it is not kept; run the same command again"
            )
        pictures = {row: pictures[row] for row in pictures.keys() & _good_rows(results)}
        record = PartRecord(input_digest(digests), extent, counted, self._named(images), pictures, self._maps_size)
        self._commit(results, record)
        return counted

    def _named(self, images: Mapping[str, SavedImage]) -> Mapping[str, SavedImage] | None:
        return images if self._work.job.measurement.save_images else None

    @contextlib.contextmanager
    def _maps(self) -> Iterator[MapsWriter | None]:
        if not self._saves_maps:
            yield None
            return
        name = layout.maps_part(self._number)
        with self._store.writing(name) as stream:
            with MapsWriter(stream, self._work.schema.metadata, self._steps) as writer:
                if self._redo is not None and not self._redo.found.lost_maps:
                    with parquet(self._store, name) as file:
                        for maps in chosen(file.iter_batches(use_threads=False), self._redo.fates.good.__contains__):
                            writer.keep(maps)
                yield writer
            self._maps_size = stream.tell()

    def _refuse_lost(self, rejected: Iterable[Rejected]) -> None:
        """What is lost of a good row cannot be made again of a row that is rejected now."""
        if self._redo is None or not self._redo.found.has_lost:
            return
        for item in rejected:
            if any((item.row, item.seed, step) in self._redo.fates.good for step in self._steps):
                raise ResumeRefused(
                    f"the maps or the image of row {item.row} are lost, and it cannot be scanned again ({item.error}): "
                    "restore what it was scanned from, or choose another --out"
                )

    def _save_images(self, scanned: Scanned, files: Together) -> dict[str, SavedImage]:
        """Add the images that are not there to `files`; returns what was saved, by name."""
        saved = {}
        for sample, image in zip(scanned.samples, scanned.images or (), strict=scanned.images is not None):
            name = layout.image_name(sample.row, sample.seed)
            if self._redo is None or self._redo.saves((sample.row, sample.seed), self._steps):
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, "PNG")
                content = encoded.getvalue()
                files.write(layout.image(self._number, name), content)
                saved[name] = SavedImage(len(content), image_digest(content))
        return saved

    def _keep(self, found: Found, images: Mapping[str, SavedImage] | None) -> Tally:
        """Leave the results as they are, but for what they say of maps and images that are new or differ."""
        record = dataclasses.replace(found.record, images=images, maps=self._maps_size)
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


def _every(key: RowKey) -> bool:
    return True


def _good_rows(results: Iterable[pa.RecordBatch]) -> set[int]:
    return {
        row
        for batch in results
        for row, status in zip(batch["row"].to_pylist(), batch["status"].to_pylist(), strict=True)
        if status == "ok"
    }
