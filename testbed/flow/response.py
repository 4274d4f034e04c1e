"""`python -m testbed.flow.response --work WORK --seed S ...`: strength, then dose and response, of transformers.

As `testbed.graded.strength` and `testbed.graded.response`, in one. Leaves WORK/NAME-strength.csv, a row for each
prompt, and WORK/response-flow.csv, -heldout.csv and .png.
"""

import argparse
from pathlib import Path

from memscan.scanner.settings import DERIVATIVES
from testbed.bench.assess import assess
from testbed.bench.model import MEASURED_SEEDS
from testbed.bench.strength import measure, strength_lines
from testbed.flow.scans import METRICS_OF_TRANSFORMERS, trained
from testbed.graded.captions import graded
from testbed.graded.copies import originals
from testbed.graded.train import START, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="what `python -m testbed.flow.train` filled")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="trainings to pool")
    parser.add_argument("--baselines", nargs="+", default=["25%", "10%", "50%"], help="checkpoints to choose from")
    parser.add_argument("--metrics", nargs="+", default=METRICS_OF_TRANSFORMERS, help="to measure")
    parser.add_argument("--derivative", choices=DERIVATIVES, default="exact", help="that maps are made by")
    parser.add_argument("--images", type=int, default=len(MEASURED_SEEDS), help="of each prompt, to be measured")
    arguments = parser.parse_args()
    models = [trained(arguments.work, seed, arguments.derivative, arguments.images) for seed in arguments.seed]
    vae = load(START).vae
    for model in models:
        for line in strength_lines(measure(model, originals(vae, graded(model.seed)))):
            print(line)
    assess(models, arguments.work / "response-flow", arguments.baselines, tuple(arguments.metrics))


if __name__ == "__main__":
    main()
