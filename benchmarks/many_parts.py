"""What a run of many parts costs beside the scan: seconds to plan, bytes of a part, and requests to an object store.

    python -m benchmarks.many_parts [--parts 10000 --parts 390625] [--rows 1024]

Planning is `survey` and a listing of a share of 100, of a manifest without seeds whose rows are not read. Bytes and
requests are those of a real run of the tests' closed-form model with parts of 256 rows, its output in the tests' server
of the S3 protocol: maps and images off, as in a large sweep. The figures of docs/scale.md come from here.
"""

import collections
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.bundle import open_bundle
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.place import Url
from memscan.scanner.run.cut import Bounds, survey
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.progress import Advance
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.run.share import Share
from memscan.scanner.settings import Execution
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.objects.fake_s3 import FakeS3, serving

_PART = Bounds(256, 1024)


@click.command()
@click.option("--parts", multiple=True, type=int, default=(10_000, 390_625), show_default=True)
@click.option(
    "--rows", type=int, default=1024, show_default=True, help="Of the run, of which bytes and requests are counted"
)
def main(parts: tuple[int, ...], rows: int) -> None:
    """Print the costs of planning, and what a part takes in an object store."""
    click.echo("| parts | rows | seconds of processor time to plan a share |\n|---|---|---|")
    for count in parts:
        began = time.process_time()
        planned = survey(_unread(count * _PART.rows), _PART, Share(37, 100)).parts
        click.echo(f"| {len(planned):,} | {count * _PART.rows:,} | {time.process_time() - began:.3f} |")
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        _describe(server)
        number = _scan(Path(folder), rows)
        fresh = collections.Counter(_kind(request) for request in server.requests)
        results = [len(content) for name, (content, _) in server.objects.items() if "/results/part-" in name]
        server.requests.clear()
        _scan(Path(folder), rows)
        again = collections.Counter(_kind(request) for request in server.requests)
    click.echo(f"\n{number} parts of {_PART.rows} rows, {sum(results) / rows:.0f} bytes a row\n")
    click.echo("| requests | of a run | of the same command again |\n|---|---|---|")
    for kind in sorted(fresh | again):
        click.echo(f"| {kind} | {fresh[kind]} | {again[kind]} |")


class _Unread:
    def __init__(self, count: int) -> None:
        self.num_rows, self.used = count, {"prompt": "prompt"}

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[Any]:
        yield from ()


def _unread(rows: int) -> Manifest:
    manifest = Manifest("m", rows, {}, sources=(_Unread(rows),))  # type: ignore[arg-type]
    object.__setattr__(manifest, "rows", lambda *arguments, **options: iter(()))
    return manifest


def _describe(server: FakeS3) -> None:
    os.environ.update(
        AWS_ENDPOINT_URL=server.endpoint,
        AWS_ALLOW_HTTP="true",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="x",
        AWS_REGION="us-east-1",
    )


def _scan(folder: Path, rows: int) -> int:
    if not (folder / "model").exists():
        write_analytic_bundle(folder / "model")
        prompts = [f"a city with {number} towers under a sky of its own" for number in range(rows)]
        pq.write_table(pa.table({"prompt": prompts}), folder / "m.parquet")
    bundle, manifest = open_bundle(folder / "model"), open_manifest(str(folder / "m.parquet"))
    measurement, _ = build_measurement(bundle, Request(steps=(7,), num_inference_steps=None))
    job = Job(manifest, bundle, measurement, Execution(64, 1), Url("s3", "bucket", "night"))
    run(job, note=lambda line: None, progress=_silent)
    return -(-rows // _PART.rows)


@contextlib.contextmanager
def _silent(total: int, done: int) -> Iterator[Advance]:
    yield lambda count, errors: None


def _kind(request: str) -> str:
    method, _, name = request.partition(" ")
    of = "results" if "/results/part-" in name else "other"
    return f"{method} {of}"


if __name__ == "__main__":
    main()
