"""`memscan verify`: are the images that a run has generated copies of given training images?"""

from pathlib import Path

import click

from memscan.scanner.commands.options import GroupedCommand
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.evaluation.formats.reading import Reading


@click.command("verify", cls=GroupedCommand, short_help="Compare generated images with training images")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=LocalPath(),
    metavar="FOLDER",
    help="Training images, named by id, row (dl_007.jpg) or prompt",
)
@click.option(
    "--ground-truth",
    metavar="FILE|testbed",
    help="Masks, and training images where it holds them (forms: docs/ground-truth.md)",
)
@click.option("--templates", type=LocalPath(), metavar="FOLDER", help="Of Webster's ground truth: as of `memscan eval`")
@click.option("--out", type=LocalPath(), metavar="FILE", help="Write the verdict on each image, .parquet or .csv")
def command(
    results: Path, images: Path | None, ground_truth: str | None, templates: Path | None, out: Path | None
) -> int:
    """Say which generated images are copies of the training images that you give: no model and no network is needed.

    \b
    memscan run prompts.parquet --images
    memscan verify prompts.memscan --images training/ --out verdicts.parquet

    The rule is Webster's: the root mean square error at 256 x 256, of the whole picture and within the mask, against
    0.113 (0.124 for training images that were retrieved by their likeness). The mask is that of the ground truth, else
    the one that the scan found.
    """
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.training_pictures import TrainingPictures
    from memscan.scanner.evaluation.verify import verify
    from memscan.scanner.evaluation.write import check_table_name, write_table
    from memscan.scanner.notes import note
    from memscan.scanner.results.reader import open_results

    if out:
        check_table_name(out, "--out")
    truth = None
    if ground_truth is not None:
        truth = read_ground_truth(ground_truth, Reading(templates=templates, pairs="each", downloads=images))
        for text in truth.remarks:
            note(text)
    found = verify(open_results(results), None if images is None else TrainingPictures(images), truth)
    if out:
        write_table(found.table, out, "--out")
    click.echo(found.summary)
    return 3 if found.unreadable else 0
