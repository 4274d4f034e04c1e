"""`python -m testbed.emoji.response --work WORK --seed S ...`: dose and response of every detector on emoji.

As `testbed.graded.response`, whose tables and figure it makes. Leaves WORK/response.csv, -heldout.csv and .png.
"""

import dataclasses

from testbed.bench.arguments import response_parser
from testbed.bench.assess import assess
from testbed.bench.model import MEASURED_SEEDS, SAMPLING
from testbed.emoji.scans import Model


def main() -> None:
    parser = response_parser(__doc__, ["25%", "10%", "50%"])
    arguments = parser.parse_args()
    sampling = dataclasses.replace(SAMPLING, derivative=arguments.derivative)
    seeds = MEASURED_SEEDS[: arguments.images]
    models = [Model(arguments.work, seed, sampling, measured_seeds=seeds) for seed in arguments.seed]
    assess(models, arguments.work / "response", arguments.baselines, tuple(arguments.metrics))


if __name__ == "__main__":
    main()
