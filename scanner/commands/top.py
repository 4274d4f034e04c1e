"""`memscan top`: the highest scores, in the terminal."""

import shutil
from pathlib import Path

import click

from memscan.scanner.commands.options import rate_option
from memscan.scanner.notes import note

_WIDTH = 100  # where the output is no terminal


@click.command("top", short_help="Print the images with the highest scores")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("-n", "limit", type=click.IntRange(1, 10000), default=20, show_default=True, help="Print so many images")
@click.option("--step", type=int, help="Rank this measured step (index)  [default: the last one]")
@rate_option
def command(results: Path, limit: int, step: int | None, rate: float) -> None:
    """Print the images with the highest scores of a run, the highest first.

    \b
    memscan top prompts.memscan -n 10

    Scores of different steps are not to be compared, so one step is ranked.
    """
    from memscan.scanner.report.survey import survey
    from memscan.scanner.report.top import top_table
    from memscan.scanner.results.reader import open_results
    from memscan.scanner.results.tally import SCREENED

    opened = open_results(results)
    if opened.is_empty:
        note(f"nothing to rank in {results}: its manifest had no rows")
        return
    found = survey(opened, step, limit, rate)
    if found.top:
        click.echo(top_table(opened, found, shutil.get_terminal_size((_WIDTH, 24)).columns))
    rest = f"; {found.statuses['error']} with errors" if found.statuses.get("error") else ""
    rest += f"; {found.statuses[SCREENED]} screened" if found.statuses.get(SCREENED) else ""
    unfinished = "" if opened.finished else "; the run is not finished"
    flagged = "no threshold" if not (found.masked or found.p_values) else f"{found.flagged} flagged"
    note(f"step {found.step}: {found.scanned} images scanned, {flagged}{rest}{unfinished}")
