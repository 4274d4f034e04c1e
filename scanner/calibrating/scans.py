"""The scans that a calibration is made of, by the job that `memscan run` makes of the same request."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.bundle import Bundle
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.notes import Note
from memscan.scanner.results.reader import Results, open_results
from memscan.scanner.results.store import LocalStore
from memscan.scanner.run.job import make_job
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution, Measurement, Reference


@dataclasses.dataclass(frozen=True)
class Scans:
    """Scans of a bundle into folders below `folder`, in which a scan that was stopped goes on.

    `references` are known to them.
    """

    bundle: Bundle
    execution: Execution
    folder: Path
    note: Note
    references: tuple[Reference, ...] = ()

    def manifest(self, name: str, prompts: Sequence[str], seeds: int) -> Manifest:
        """A manifest of prompts with so many seeds each, every one its own: noise must not be what they share."""
        table = pa.table(
            {
                "prompt": pa.array(prompts, pa.string()),
                "seed": [list(range(row * seeds, (row + 1) * seeds)) for row in range(len(prompts))],
            }
        )
        file = f"{name}.parquet"
        with LocalStore(self.folder).writing(file) as stream:
            pq.write_table(table, stream)
        return open_manifest(str(self.folder / file))

    def scan(self, name: str, manifest: Manifest, request: Request) -> tuple[Results, Measurement]:
        """The results of a scan, and what it measured.

        Raises:
            UsageError: as `make_job` and `run`.
            EnvironmentFailed: as `run`.
        """
        job = make_job(
            manifest,
            self.bundle,
            request,
            self.execution,
            self.folder / name,
            references=self.references,
            warn=_unheard,
        )
        price = job.price()
        self.note(f"{name}: {manifest.census().images} images, each of {price.total:.0f} forward passes")
        run(job, note=_unheard, warn=_unheard)
        return open_results(job.out), job.measurement


def _unheard(line: str) -> None:
    """What a scan says to its user is of no use here: thresholds are what is being made."""
