"""One part of a run: a fixed range of manifest rows, scanned and committed as a whole.

Its maps and images are committed before its results, because the results file *is* the record that the part is done.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from memscan.scanner.engine import Engine
from memscan.scanner.finished import DIGEST_KEY, Tally, input_digest, tally
from memscan.scanner.job import Job
from memscan.scanner.maps_table import MapsWriter
from memscan.scanner.measurement import measured_steps
from memscan.scanner.output import OutputFolder
from memscan.scanner.progress import Advance
from memscan.scanner.results import RowMaker
from memscan.scanner.rows import RawRow, parse_row
from memscan.scanner.samples import Rejected, Sample, Scanned
from memscan.scanner.scan import scan


class Part:
    """The part `number` of a job; `schema` is that of the job's result files."""

    def __init__(self, job: Job, folder: OutputFolder, schema: pa.Schema, number: int) -> None:
        self._job = job
        self._folder = folder
        self._schema = schema
        self._number = number
        self._digests: list[bytes] = []
        self._rejected: list[Rejected] = []

    def scan(self, rows: Iterator[tuple[int, RawRow]], engine: Engine, advance: Advance) -> Tally:
        """Scan the part's rows, given with their indices, and commit what comes out."""
        job = self._job
        steps = measured_steps(job.bundle, job.measurement)
        maker = RowMaker(job.bundle.model_id, job.measurement.mask_map, steps)
        results: list[dict[str, Any]] = []
        with self._maps() as maps:
            for item in scan(job.bundle, engine, job.measurement, self._samples(rows), job.execution.batch_size):
                results += maker.rows(item)
                if isinstance(item, Scanned):
                    if maps:
                        maps.add(item)
                    self._save_image(item)
                advance(1)
        for rejected in self._rejected:
            results += maker.rows(rejected)
        advance(len(self._rejected))
        return self._commit(results)

    def _samples(self, rows: Iterator[tuple[int, RawRow]]) -> Iterator[Sample]:
        for index, raw in rows:
            row = parse_row(index, raw)
            self._digests.append(row.digest)
            for item in row.items:
                if isinstance(item, Rejected):
                    self._rejected.append(item)
                else:
                    yield item

    @contextlib.contextmanager
    def _maps(self) -> Iterator[MapsWriter | None]:
        if not self._job.measurement.save_maps:
            yield None
            return
        with self._folder.writing(self._folder.maps_part(self._number)) as stream:
            writer = MapsWriter(stream, self._schema.metadata, self._job.measurement.steps)
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _save_image(self, item: Scanned) -> None:
        if item.image is not None:
            with self._folder.writing(self._folder.image(item.sample.row, item.sample.seed)) as stream:
                Image.fromarray(item.image).save(stream, "PNG")

    def _commit(self, results: list[dict[str, Any]]) -> Tally:
        results.sort(key=lambda row: (row["row"], row["seed"], row["step_index"]))
        metadata = self._schema.metadata | {DIGEST_KEY.encode(): input_digest(self._digests).encode()}
        table = pa.Table.from_pylist(results, self._schema.with_metadata(metadata))
        encoded = pa.BufferOutputStream()
        pq.write_table(table, encoded, compression="zstd", write_page_checksum=True)
        with self._folder.writing(self._folder.results_part(self._number)) as stream:
            stream.write(encoded.getvalue())
        return tally(table)
