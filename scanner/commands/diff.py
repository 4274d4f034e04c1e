"""`memscan diff`: what two runs of the same prompts differ in."""

import contextlib
from pathlib import Path

import click

from memscan.scanner.commands.options import choice, rate_option
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.notes import note
from memscan.scanner.report.by import By

_TOO_MANY = 3


@click.command("diff", short_help="Compare two results: what is newly flagged, and what no longer")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=choice(By),
    default="prompt",
    show_default=True,
    help="Images of the same seed and the same of this are the same image",
)
@click.option("--step", type=int, help="Compare at this measured step (index)  [default: the last that both have]")
@rate_option
@click.option(
    "--fail-on-new", type=click.IntRange(0), metavar="N", help="Exit with 3 if more than N images are newly flagged"
)
@click.option(
    "-n", "limit", type=click.IntRange(0, 10000), default=20, show_default=True, help="Examples of each change"
)
@click.option("--json", "json_out", type=LocalPath(), metavar="FILE", help="Also write all figures to this file")
@click.option("--out", type=LocalPath(), metavar="FILE", help="Write every image, with both scores, as Parquet")
def command(
    old: Path,
    new: Path,
    by: By,
    step: int | None,
    rate: float,
    fail_on_new: int | None,
    limit: int,
    json_out: Path | None,
    out: Path | None,
) -> int:
    """Compare two results: which images are newly flagged, which no longer, and how far scores moved.

    \b
    memscan diff monday.memscan tuesday.memscan --fail-on-new 0

    The runs may be of two checkpoints: settings in which they differ are named. Images that only NEW has and that are
    flagged count as newly flagged too. Exit codes are those of every command; 3 says that --fail-on-new was exceeded.
    Some 40 bytes are held of each image of OLD, and nothing of NEW.
    """
    import pyarrow.parquet as pq

    from memscan.scanner.evaluation.write import write_file
    from memscan.scanner.report.diff import SCHEMA, diff
    from memscan.scanner.report.diff_text import diff_json, diff_text
    from memscan.scanner.report.streamed import replacing
    from memscan.scanner.results.reader import open_results

    runs = [open_results(path) for path in (old, new)]
    for run in runs:
        if run.is_empty:
            note(f"nothing to compare in {run.path}: its manifest had no rows")
            return 0
        if not run.finished:
            note(f"{run.path} is not finished: only its finished parts are compared")
    with contextlib.ExitStack() as stack:
        writer = None
        if out:
            aside = stack.enter_context(replacing(out, "--out"))
            writer = stack.enter_context(pq.ParquetWriter(aside, SCHEMA, compression="zstd"))
        found = diff(*runs, by=by, step=step, rate=rate, examples=limit, write=writer and writer.write_table)
    if found.settings:
        note(f"the runs differ in {', '.join(found.settings)}: scores compare only as far as these do not matter")
    click.echo(diff_text(found))
    if json_out:
        write_file(diff_json(found).encode(), json_out, "--json")
    if fail_on_new is not None and found.newly > fail_on_new:
        note(f"{found.newly} images are newly flagged, and --fail-on-new allows {fail_on_new}")
        return _TOO_MANY
    return 0
