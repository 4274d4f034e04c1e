"""`python -m testbed.graded.response --work WORK --seed S ... --dropout PERCENT`: dose and response of every detector.

Over all captions: how each score grows with count and with strength, how it tells prompts that are copied in at least
half of the seeds from those that never are, how local masks agree with the truth by count. Then everything again on
held-out captions, with baseline, timestep and threshold chosen on the calibration captions, beside the combination of
all. Leaves WORK/response-drop{PERCENT}.csv, -heldout.csv and .png.
"""

import dataclasses

from testbed.bench.arguments import response_parser
from testbed.bench.assess import assess
from testbed.bench.model import MEASURED_SEEDS, SAMPLING
from testbed.graded.scans import Model
from testbed.graded.train import DROPOUTS


def main() -> None:
    parser = response_parser(__doc__, ["start", "10%", "25%", "50%"])
    parser.add_argument("--dropout", type=int, choices=DROPOUTS, default=0)
    arguments = parser.parse_args()
    sampling = dataclasses.replace(SAMPLING, derivative=arguments.derivative)
    trained = [Model.trained(arguments.work, seed, arguments.dropout) for seed in arguments.seed]
    seeds = MEASURED_SEEDS[: arguments.images]
    models = [dataclasses.replace(model, sampling=sampling, measured_seeds=seeds) for model in trained]
    out = arguments.work / f"response-drop{arguments.dropout}"
    assess(models, out, arguments.baselines, tuple(arguments.metrics))


if __name__ == "__main__":
    main()
