"""`memscan show`: a picture of what was found, beside what is known."""

from pathlib import Path

import click

from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.notes import note

_MOST_IMAGES = 400  # a JPEG has 65535 rows of pixels at most
_OUT_HELP = (
    "File to write, .png, .jpg or .jpeg  [default: RESULTS/sheet.png; RESULTS/sheet-step-N.png if several steps were "
    "measured]"
)


@click.command("show", short_help="Draw a contact sheet of results")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--ground-truth", metavar="FILE|testbed", help="Draw training images and true masks too")
@click.option("--out", type=LocalPath(), help=_OUT_HELP)
@click.option(
    "--limit", type=click.IntRange(1, _MOST_IMAGES), default=12, show_default=True, help="Draw at most so many images"
)
@click.option("--step", type=int, help="Draw this measured step (index)  [default: the last one]")
def command(results: Path, ground_truth: str | None, out: Path | None, limit: int, step: int | None) -> None:
    """Draw a contact sheet of the results of a run: images, heat maps, masks and scores.

    \b
    memscan run prompts.parquet --maps --images
    memscan show prompts.memscan --out sheet.png

    With ground truth, some images of each kind of memorization are drawn; without it, those with the highest scores.
    Colours and bars have the same scale on every sheet. UNCALIBRATED is written across one whose threshold is not the
    model's own at these settings, TOY MODEL across one of the embedded model.
    """
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.results import layout
    from memscan.scanner.results.reader import open_results
    from memscan.scanner.sheet.draw import draw_sheet
    from memscan.scanner.sheet.entries import select
    from memscan.scanner.sheet.save import check_format, save

    if out:
        check_format(out)
    truth = None if ground_truth is None else read_ground_truth(ground_truth)
    opened = open_results(results)
    if opened.is_empty:
        note(f"nothing to draw in {results}: its manifest had no rows")
        return
    selection = select(opened, truth, step, limit)
    own = layout.SHEET if len(selection.steps) == 1 else layout.sheet_of_step(selection.step)
    file = out or results / own
    save(draw_sheet(selection), file)
    saved = {"maps": opened.has_maps, "images": any(entry.generated for entry in selection.entries)}
    lacking = [name for name, there in saved.items() if not there]
    if lacking:
        options = " ".join(f"--{name}" for name in lacking)
        note(f"drawn without {' and '.join(lacking)}: `memscan run {options}` saves them")
    click.echo(file)
