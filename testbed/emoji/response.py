"""`python -m testbed.emoji.response --work WORK --seed S ...`: dose and response of every detector on emoji.

As `testbed.graded.response`, whose tables and figure it makes. Leaves WORK/response.csv, -heldout.csv and .png.
"""

import argparse
from pathlib import Path

from testbed.bench.assess import assess
from testbed.bench.scans import MEASURED
from testbed.emoji.scans import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder with trainings and strengths")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="trainings to pool")
    parser.add_argument("--baselines", nargs="+", default=["25%", "10%", "50%"], help="checkpoints to choose from")
    parser.add_argument("--metrics", nargs="+", default=MEASURED, help="to measure")
    arguments = parser.parse_args()
    models = [Model(arguments.work, seed) for seed in arguments.seed]
    assess(models, arguments.work / "response", arguments.baselines, arguments.metrics)


if __name__ == "__main__":
    main()
