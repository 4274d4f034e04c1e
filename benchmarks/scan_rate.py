"""Images per second of a scan while it is running: start-up, loading and the first batch are left out."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.bundle import Bundle
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.progress import Advance, whole
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution

Clock = Callable[[], float]


def images_per_second(
    bundle: Bundle,
    prompts: list[str],
    request: Request,
    execution: Execution,
    timed_batches: int = 2,
    clock: Clock = time.perf_counter,
) -> float:
    """The rate of a run of `timed_batches` batches after its first one; reading and writing are part of it.

    Args:
        execution: with a batch size, which must fit into memory.
    """
    size = execution.batch_size
    assert size is not None
    images = size * (1 + timed_batches)
    measurement, _ = build_measurement(bundle, request)
    done: list[float] = []

    @contextlib.contextmanager
    def progress(total: int, found: int) -> Iterator[Advance]:
        finished = 0.0

        def advance(count: float, errors: int) -> None:
            nonlocal finished
            finished += count
            done.extend([clock()] * (whole(finished) - len(done)))

        yield advance

    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.parquet"
        pq.write_table(pa.table({"prompt": (prompts * images)[:images], "seed": range(images)}), manifest)
        job = Job(open_manifest(str(manifest)), bundle, measurement, execution, Path(folder) / "out")
        run(job, note=lambda line: None, progress=progress)
        end = clock()
    return (images - size) / (end - done[size - 1])
