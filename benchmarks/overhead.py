"""memscan's own time and memory for each row, without the model: a scan by a runtime that computes nothing.

    python -m benchmarks.overhead [--rows 10000 --rows 100000 --rows 1000000] [--batch-size 64]

Everything else is a run of the testbed's bundle as it always is: reading a Parquet manifest of distinct prompts,
tokenising, drawing noise, the sampler's loop, summaries, masks, Parquet parts flushed to the disk. Each scan is a
process of its own; times are of the whole `run`, first pass over the manifest included. Goals: under 100 microseconds a
row, and the same peak memory (VmHWM) at any number of rows.
"""

import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.null_runtime import NullRuntime
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.progress import Advance
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution

GOAL = 100e-6  # seconds a row
_ROWS_AT_ONCE = 50_000


class Cost(NamedTuple):
    """Of one scan: seconds on the clock, seconds of the processor in all threads, peak resident bytes."""

    wall: float
    processor: float
    memory: int


@click.command()
@click.option("--rows", multiple=True, type=int, default=(10_000, 100_000, 1_000_000), show_default=True)
@click.option("--batch-size", default=64, show_default=True, help="As on an accelerator; 8 is usual on a CPU")
@click.option("--sampler", type=click.Choice(["ddim", "dpmsolver++"]), default="ddim", show_default=True)
def main(rows: tuple[int, ...], batch_size: int, sampler: str) -> None:
    """Scan manifests of several sizes with the null runtime and print what a row costs."""
    click.echo(f"{sampler}, batches of {batch_size}; goal: under {GOAL * 1e6:.0f} microseconds a row, flat memory\n")
    click.echo("| rows | microseconds a row | of processor time | peak memory, MiB |\n|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder, context.Pool(1) as process:
            cost = process.apply(scan, (Path(folder), count, batch_size, sampler))
        click.echo(
            f"| {count:,} | {cost.wall / count * 1e6:.1f} | {cost.processor / count * 1e6:.1f} "
            f"| {cost.memory / 2**20:.0f} |"
        )


def scan(folder: Path, rows: int, batch_size: int, sampler: str) -> Cost:
    """Scan so many rows in this process."""
    manifest = folder / "manifest.parquet"
    _write_manifest(manifest, rows)
    bundle = open_bundle(BUNDLE)
    request = Request(sampler="dpmsolver++" if sampler == "dpmsolver++" else "ddim")
    measurement, _ = build_measurement(bundle, request)
    job = Job(open_manifest(str(manifest)), bundle, measurement, Execution(), folder / "out")
    wall, processor = time.perf_counter(), time.process_time()
    summary = run(
        job,
        note=lambda line: None,
        progress=_no_progress,
        opener=lambda bundle, execution, note: Graphs(bundle, NullRuntime(bundle, batch_size)),
    )
    cost = time.perf_counter() - wall, time.process_time() - processor
    assert summary.total.ok == rows, summary
    return Cost(*cost, _peak_memory())


def _write_manifest(path: Path, rows: int) -> None:
    schema = pa.schema({"prompt": pa.string(), "seed": pa.int64()})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, _ROWS_AT_ONCE):
            numbers = range(first, min(rows, first + _ROWS_AT_ONCE))
            prompts = [f"a painting of the harbour number {number} above a rug" for number in numbers]
            writer.write_table(pa.table({"prompt": prompts, "seed": list(numbers)}, schema))


@contextlib.contextmanager
def _no_progress(total: int, done: int) -> Iterator[Advance]:
    yield lambda count, errors: None


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kibibytes) * 1024


if __name__ == "__main__":
    main()
