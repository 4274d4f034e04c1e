"""`memscan report`: a page that an auditor can hand on."""

from pathlib import Path

import click

from memscan.scanner.commands.options import rate_option
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.notes import note

_MOST_IMAGES = 2000  # a browser holds them all, with their maps


@click.command("report", short_help="Write a page on results, to be read in a browser")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--out", type=LocalPath(), metavar="FILE", help="Page to write  [default: RESULTS/report.html]")
@click.option(
    "--top",
    type=click.IntRange(1, _MOST_IMAGES),
    default=100,
    show_default=True,
    help="Show at most so many images, those with the highest scores",
)
@click.option("--step", type=int, help="Report on this measured step (index)  [default: the last one]")
@rate_option
@click.option("--ground-truth", metavar="FILE|testbed", help="Show what is truly memorized, and a ROC curve")
@click.option("--training", type=LocalPath(), metavar="FOLDER", help="Show training pictures, named as for `verify`")
@click.option(
    "--calibration",
    type=LocalPath(),
    metavar="FILE",
    help="Draw the scores of its clean prompts beside the run's: what `memscan calibrate` made for this model",
)
def command(
    results: Path,
    out: Path | None,
    top: int,
    step: int | None,
    rate: float,
    ground_truth: str | None,
    training: Path | None,
    calibration: Path | None,
) -> None:
    """Write one page on the results of a run: what was scanned and flagged, by which model and settings, and a gallery
    of the highest scores to be searched, sorted and looked at.

    \b
    memscan run prompts.parquet --maps --images
    memscan report prompts.memscan

    The page is one file that loads nothing, opens without a server, and prints. It works for results without images
    and maps too, and for runs that are not finished. Rows are read one after the other: memory does not grow with
    them, but for three numbers of each image that --ground-truth knows.
    """
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.training_pictures import TrainingPictures
    from memscan.scanner.evaluation.write import write_file
    from memscan.scanner.report.html import html
    from memscan.scanner.results import layout
    from memscan.scanner.results.reader import open_results

    truth = None if ground_truth is None else read_ground_truth(ground_truth)
    pictures = None if training is None else TrainingPictures(training)
    opened = open_results(results)
    if opened.is_empty:
        note(f"nothing to report in {results}: its manifest had no rows")
        return
    page = html(opened, step=step, top=top, rate=rate, truth=truth, training=pictures, calibration=calibration)
    file = out or results / layout.REPORT
    write_file(page.encode(), file, "--out")
    click.echo(file)
