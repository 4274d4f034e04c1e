"""`memscan flag`: which images of a sweep are memorized, at a rate of false discoveries."""

from pathlib import Path

import click

from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.notes import note


@click.command("flag", short_help="Pick memorized images at a rate of false discoveries")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--fdr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of the flagged that may be false, on average",
)
@click.option("--step", type=int, help="Of this measured step (index)  [default: the only one with p-values]")
@click.option("--out", type=LocalPath(), metavar="FILE", help="Write the flagged rows, with a column q_value: .parquet")
@click.option("--json", "json_file", type=LocalPath(), metavar="FILE", help="Write the figures")
def command(results: Path, fdr: float, step: int | None, out: Path | None, json_file: Path | None) -> None:
    """Flag the images of a run whose p-values are too small for chance, by Benjamini and Hochberg.

    \b
    memscan calibrate sd14.bundle
    memscan run million.parquet --model sd14.bundle
    memscan flag million.memscan --fdr 0.05 --out flagged.parquet

    Of all that is flagged, at most the share --fdr is false on average, however many images were scanned. Every image
    of the run is a test; those that were screened are tests that failed.
    """
    from memscan.scanner.calibration.flag import flag
    from memscan.scanner.calibration.write_rows import write_rows
    from memscan.scanner.evaluation.write import write_file
    from memscan.scanner.results.reader import open_results

    opened = open_results(results)
    flagged = flag(opened, fdr, step)
    for line in flagged.lines():
        click.echo(line)
    if not opened.finished:
        note("the run is not finished: only its finished parts were tested")
    if out:
        write_rows(flagged, out)
    if json_file:
        write_file(flagged.to_json(), json_file, "--json")
