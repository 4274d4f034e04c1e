"""`memscan eval`: how well scores and masks agree with known memorization."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memscan.scanner.commands.options import GroupedCommand
from memscan.scanner.commands.parameters import LocalPath, UnicodeText
from memscan.scanner.commands.truth_options import reading_options, truth_option
from memscan.scanner.evaluation.formats.reading import Reading
from memscan.scanner.notes import note

if TYPE_CHECKING:
    from memscan.scanner.evaluation.truth import GroundTruth
    from memscan.scanner.results.reader import Results


@click.command("eval", cls=GroupedCommand, short_help="Compare results with ground truth, or two results")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@truth_option
@reading_options
@click.option(
    "--split", type=UnicodeText(), metavar="NAME", help="Score only the prompts of this split of the ground truth"
)
@click.option("--json", "json_file", type=LocalPath(), help="Also write all figures, with ROC points, to this file")
@click.option("--per-image", type=LocalPath(), metavar="FILE", help="Write a row for each image, .parquet or .csv")
@click.option("--plot", type=LocalPath(), metavar="FILE", help="Draw the ROC curves, .png, .pdf or .svg")
def command(
    results: tuple[Path, ...],
    ground_truth: str,
    reading: Reading,
    split: str | None,
    json_file: Path | None,
    per_image: Path | None,
    plot: Path | None,
) -> None:
    """Compare the results of a run with ground truth: IoU, mIoU and pixel accuracy of the masks, AUC and true-positive
    rates of the scores.

    \b
    memscan run prompts.parquet --maps
    memscan eval prompts.memscan --ground-truth truth.parquet --json figures.json
    memscan eval before.memscan after.memscan --ground-truth truth.parquet

    For every map and step, and for each kind of memorization (global, local, memorized, none, all). The oracle protocol
    is the paper's and needs `run --maps`; the fixed protocol scores the masks at memscan's own threshold. Every score
    is a row of detection; a rate at so many false positives is given only where the images of kind none are enough.
    Intervals are bootstrapped over captions. Kind none has no memorized pixel: its IoU is 1 if nothing is predicted in
    any of its images and 0 otherwise, so look at its accuracy.

    Of two results every figure that both have is compared on the images that both have, with the interval of the
    difference.
    """
    from memscan.scanner.evaluation.evaluate import evaluate
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.per_image import per_image as rows
    from memscan.scanner.evaluation.plot import check_figure_name, roc_figure
    from memscan.scanner.evaluation.text_table import table
    from memscan.scanner.evaluation.write import check_table_name, write_file, write_table
    from memscan.scanner.results.reader import open_results

    if len(results) > 2:
        raise click.UsageError(f"one folder of results or two are compared with ground truth, not {len(results)}")
    if len(results) == 2 and (per_image or plot):
        raise click.UsageError("--per-image and --plot are of one folder of results")
    if per_image:
        check_table_name(per_image, "--per-image")
    if plot:
        check_figure_name(plot)
    truth = read_ground_truth(ground_truth, reading)
    opened = [open_results(path) for path in results]
    if len(opened) == 2:
        _compare(opened[0], opened[1], truth, split, json_file)
        return
    evaluation = evaluate(opened[0], truth, split)
    if evaluation.records or evaluation.detections:
        click.echo(table(evaluation.records, evaluation.detections))
    for text in evaluation.notes:
        note(text)
    if json_file:
        write_file(evaluation.to_json().encode(), json_file, "--json")
    if per_image and not opened[0].is_empty:
        write_table(rows(opened[0], truth, split), per_image, "--per-image")
    if plot and not opened[0].is_empty:
        write_file(roc_figure(evaluation.detections, plot.suffix.lower()), plot, "--plot")


def _compare(first: "Results", second: "Results", truth: "GroundTruth", split: str | None, file: Path | None) -> None:
    from memscan.scanner.evaluation.compare import compare
    from memscan.scanner.evaluation.text_table import comparison
    from memscan.scanner.evaluation.write import write_file

    found = compare(first, second, truth, split)
    click.echo(comparison(found.differences))
    for text in found.notes:
        note(text)
    if file:
        write_file(found.to_json().encode(), file, "--json")
