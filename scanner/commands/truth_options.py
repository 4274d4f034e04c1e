"""How ground truth is read, as options of the commands that compare with it."""

from memscan.scanner.commands.options import all_of, choice, gathered, grouped
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.evaluation.formats.reading import Format, Pairs, Reading, Seeds

_option = grouped("Ground truth")

reading_options = all_of(
    _option("--format", type=choice(Format), help="Form of the ground truth  [default: told by its columns, and said]"),
    _option(
        "--negatives",
        type=LocalPath(),
        metavar="FILE",
        help="Prompts of which nothing is memorized",
    ),
    _option(
        "--templates",
        type=LocalPath(),
        metavar="FOLDER",
        help="Webster's: holds templates/metadata.parquet  [default: the ground truth's folder, or the one above]",
    ),
    _option(
        "--images",
        "downloads",
        type=LocalPath(),
        metavar="FOLDER",
        help="Webster's: training pictures, dl_000.jpg for row 0; a black one is a failed download",
    ),
    _option(
        "--pairs",
        type=choice(Pairs),
        default=Reading.pairs,
        show_default=True,
        help="Several templates of one image: their union is its mask, or each is scored by itself",
    ),
    _option(
        "--seeds",
        type=choice(Seeds),
        default=Reading.seeds,
        show_default=True,
        help="A prompt is known to be memorized for the seeds that are listed, or for whatever seed",
    ),
    gathered("reading", Reading),
)
"""The options of `Reading`, as the argument `reading`."""

truth_option = _option(
    "--ground-truth",
    required=True,
    metavar="FILE|testbed",
    help="What is truly memorized: a file (forms: docs/ground-truth.md); the word testbed for the embedded model's",
)
