"""`memscan table`: results for those who live in spreadsheets."""

from pathlib import Path

import click

from memscan.scanner.commands.options import rate_option
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.notes import note


@click.command("table", short_help="Write results as CSV or for a spreadsheet")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--csv", "csv_out", type=LocalPath(), metavar="FILE", help="Write CSV, in UTF-8")
@click.option("--xlsx", "xlsx_out", type=LocalPath(), metavar="FILE", help="Write a spreadsheet (memscan[xlsx])")
@click.option("--step", type=int, help="Only this measured step (index)  [default: all, a row for each]")
@rate_option
def command(results: Path, csv_out: Path | None, xlsx_out: Path | None, step: int | None, rate: float) -> None:
    """Write the rows of results as CSV or XLSX, with a column that says which are flagged.

    \b
    memscan table prompts.memscan --csv results.csv

    Masks are left out, and mask_share says how much they cover. Text that a spreadsheet would take for a formula gets
    an apostrophe before it in CSV, and is typed as text in XLSX. A sheet of XLSX holds 1,048,575 rows; CSV holds any
    number. Rows are read one after the other: memory does not grow with them.
    """
    from memscan.scanner.report.table import csv_file, xlsx_file
    from memscan.scanner.results.reader import open_results

    if not csv_out and not xlsx_out:
        raise click.UsageError("nothing to write: give --csv FILE, --xlsx FILE or both")
    opened = open_results(results)
    if not opened.finished:
        note("the run is not finished: only its finished parts are written")
    for file, write in ((csv_out, csv_file), (xlsx_out, xlsx_file)):
        if file:
            rows = write(opened, file, step, rate)
            note(f"{rows} rows")
            click.echo(file)
