"""`python -m testbed.emoji.response --work WORK --seed S ...`: dose and response of every detector on emoji.

As `testbed.graded.response`, whose tables and figure it makes. Leaves WORK/response.csv, -heldout.csv and .png.
"""

import argparse
import dataclasses
from pathlib import Path

from memscan.scanner.settings import DERIVATIVES
from testbed.bench.assess import assess
from testbed.bench.model import MEASURED_SEEDS, SAMPLING
from testbed.bench.scans import MEASURED
from testbed.emoji.scans import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder with trainings and strengths")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="trainings to pool")
    parser.add_argument("--baselines", nargs="+", default=["25%", "10%", "50%"], help="checkpoints to choose from")
    parser.add_argument("--metrics", nargs="+", default=MEASURED, help="to measure")
    parser.add_argument("--derivative", choices=DERIVATIVES, default="exact", help="that maps are made by")
    parser.add_argument("--images", type=int, default=len(MEASURED_SEEDS), help="of each prompt, to be measured")
    arguments = parser.parse_args()
    sampling = dataclasses.replace(SAMPLING, derivative=arguments.derivative)
    seeds = MEASURED_SEEDS[: arguments.images]
    models = [Model(arguments.work, seed, sampling, measured_seeds=seeds) for seed in arguments.seed]
    assess(models, arguments.work / "response", arguments.baselines, tuple(arguments.metrics))


if __name__ == "__main__":
    main()
