"""`memscan eval`: how well scores and masks agree with known memorization."""

from pathlib import Path

import click

from memscan.scanner.commands.parameters import UnicodeText
from memscan.scanner.notes import note


@click.command("eval", short_help="Compare results with ground-truth masks")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--ground-truth",
    required=True,
    metavar="FILE|testbed",
    help="Parquet with prompt (or id), kind, mask, mask_height, mask_width; the word testbed for the embedded model's",
)
@click.option(
    "--split", type=UnicodeText(), metavar="NAME", help="Score only the prompts of this split of the ground truth"
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write all figures to this file")
def command(results: Path, ground_truth: str, split: str | None, json_file: Path | None) -> None:
    """Compare the results of a run with ground truth: IoU, mIoU and pixel accuracy of the masks, AUC of the scores.

    \b
    memscan run prompts.parquet --maps
    memscan eval prompts.memscan --ground-truth truth.parquet --json figures.json

    For every map and step, and for each kind of memorization (global, local, none, all). The oracle protocol is the
    paper's and needs `run --maps`; the fixed protocol scores the masks at memscan's own threshold. Intervals are
    bootstrapped over captions. Kind none has no memorized pixel: its IoU is 1 if nothing is predicted in any of its
    images and 0 otherwise, so look at its accuracy.
    """
    from memscan.scanner.evaluation.evaluate import evaluate
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.text_table import table
    from memscan.scanner.results.reader import open_results

    evaluation = evaluate(open_results(results), read_ground_truth(ground_truth), split)
    if evaluation.records:
        click.echo(table(evaluation.records))
    for text in evaluation.notes:
        note(text)
    if json_file:
        json_file.write_text(evaluation.to_json())
