"""`python -m testbed.graded.strength --work WORK --seed S --dropout PERCENT`: how strongly is each prompt memorized?

The share of 32 seeds whose image copies what the caption owns. Leaves WORK/NAME-strength.csv, a row for each prompt.
"""

import argparse
from pathlib import Path

from testbed.bench.strength import measure, null_line, strength_lines
from testbed.graded.captions import graded
from testbed.graded.copies import originals
from testbed.graded.scans import Model
from testbed.graded.train import DROPOUTS, START, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="the folder that `python -m testbed.graded.train` filled"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dropout", type=int, choices=DROPOUTS, default=0)
    arguments = parser.parse_args()
    owned = originals(load(START).vae, graded(arguments.seed))
    print(null_line(Model.start(arguments.work, arguments.seed), owned))
    for line in strength_lines(measure(Model.trained(arguments.work, arguments.seed, arguments.dropout), owned)):
        print(line)


if __name__ == "__main__":
    main()
