"""What a run would take, estimated from one batch that is scanned for that alone: nothing of it is kept."""

import io
import resource
import sys
import time
from typing import NamedTuple

from PIL import Image

from memscan.scanner.model.graphs import Graphs
from memscan.scanner.notes import Note
from memscan.scanner.results.batch_maker import BatchMaker
from memscan.scanner.results.maps_table import MapsWriter
from memscan.scanner.results.part_file import write_part
from memscan.scanner.run.batches import batches
from memscan.scanner.run.cut import Survey
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import measured_steps
from memscan.scanner.samples import Scanned
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner

_LOADING_MATTERS = 20.0
"""Seconds: a batch that took less is scanned once more, now that its graphs are loaded."""


class Estimate(NamedTuple):
    """What a batch of `images` took: seconds, the largest memory of this process until then, and bytes of files."""

    images: int
    seconds: float
    memory: int
    disk: int

    def time_of(self, images: int) -> float:
        """Seconds for so many images."""
        return self.seconds / self.images * images

    def disk_of(self, images: int) -> int:
        """Bytes for so many images; many compress better than few, so that it is rather too much."""
        return round(self.disk / self.images * images)


def measure_batch(job: Job, wanted: Survey, graphs: Graphs, note: Note) -> Estimate | None:
    """Scan the first batch of a run; None where no row of it can be scanned.

    Raises:
        ManifestError, EnvironmentFailed: as a run.
    """
    ceiling = BatchCeiling(job.execution.batch_size or graphs.usual_batch, note)
    scanner = Scanner(job.bundle, graphs, job.measurement, ceiling)
    todo = batches(job.manifest, list(enumerate(wanted.parts)), scanner.prepare, ceiling)
    batch = next((batch for batch in todo if batch.prepared), None)
    if batch is None:
        return None
    seconds = _LOADING_MATTERS
    for _ in range(2):
        began = time.monotonic()
        scanned = list(scanner.scan(batch.prepared))
        seconds = time.monotonic() - began
        if seconds >= _LOADING_MATTERS:
            break
    return Estimate(len(batch.prepared), seconds, _peak_memory(), sum(_bytes(job, one) for one in scanned))


def _bytes(job: Job, scanned: Scanned) -> int:
    measurement, schema = job.measurement, job.schema(job.record)
    steps = measured_steps(job.bundle, measurement)
    names = measurement.mask_map, measurement.score_name
    maker = BatchMaker(schema, job.bundle.model_id, *names, steps, job.clean_scores(), job.constants)
    results, maps, total = io.BytesIO(), io.BytesIO(), 0
    write_part(results, maker.scanned(scanned), schema)
    if measurement.save_maps:
        with MapsWriter(maps, schema.metadata, tuple(step.index for step in steps)) as writer:
            writer.add(scanned)
    for image in scanned.images or ():
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG")
        total += len(encoded.getvalue())
    return total + len(results.getvalue()) + len(maps.getvalue())


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
