"""Peak memory of `memscan run` against the number of rows: it must not grow.

    python -m benchmarks.memory [--rows 1000 --rows 100000] [--model DIR]

Each scan is a process of its own with two inference steps, of which the last is measured; every prompt is different,
and the manifest is one row group. The default model is the closed-form one of the tests, at milliseconds a row, so that
what is seen is memscan's own memory. Peak memory is the process's own VmHWM: `ru_maxrss` would begin at its parent's.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from tests.analytic_bundle import write_analytic_bundle

_SETTINGS = ("--num-inference-steps", "2", "--step", "1", "--threshold", "0.5", "--threads", "1")

_PROGRAM = """
from pathlib import Path
from memscan.scanner.cli import invoke
code = invoke()
kibibytes = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
Path("peak").write_text(kibibytes[0])
raise SystemExit(code)
"""


@click.command()
@click.option("--rows", multiple=True, type=int, default=(1000, 100_000), show_default=True, help="Rows of a manifest.")
@click.option("--model", type=click.Path(path_type=Path), help="Bundle  [default: the closed-form one of the tests]")
@click.option("--maps", is_flag=True, help="Write full maps too.")
def main(rows: tuple[int, ...], model: Path | None, maps: bool) -> None:
    """Scan manifests of several sizes and print the peak memory of each scan."""
    click.echo("| rows | peak memory, MiB | images/s |\n|---|---|---|")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            bundle = model or write_analytic_bundle(Path(folder) / "analytic.bundle").path
            peak, seconds = _scan(Path(folder), count, bundle, maps)
        click.echo(f"| {count:,} | {peak / 2**20:.0f} | {count / seconds:.1f} |")


def _scan(folder: Path, rows: int, model: Path, maps: bool) -> tuple[int, float]:
    """Peak resident bytes and seconds of one scan."""
    manifest = folder / "manifest.parquet"
    prompts = [f"a poster of the city number {row}" for row in range(rows)]
    pq.write_table(pa.table({"prompt": prompts, "seed": range(rows)}), manifest, row_group_size=rows)
    arguments = ["run", str(manifest), "--model", str(model.absolute()), "--out", "out", *_SETTINGS]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments, *(["--maps"] if maps else [])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise click.ClickException(done.stderr)
    return int((folder / "peak").read_text()) * 1024, seconds


if __name__ == "__main__":
    main()
