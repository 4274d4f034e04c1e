"""`python -m testbed.flow.response --work WORK --seed S ...`: strength, then dose and response, of transformers.

As `testbed.graded.strength` and `testbed.graded.response`, in one. Leaves WORK/NAME-strength.csv, a row for each
prompt, and WORK/response-flow.csv, -heldout.csv and .png.
"""

from testbed.bench.arguments import response_parser
from testbed.bench.assess import assess
from testbed.bench.strength import measure, strength_lines
from testbed.flow.scans import METRICS_OF_TRANSFORMERS, trained
from testbed.graded.captions import graded
from testbed.graded.copies import originals
from testbed.graded.train import START, load


def main() -> None:
    parser = response_parser(__doc__, ["25%", "10%", "50%"], METRICS_OF_TRANSFORMERS)
    arguments = parser.parse_args()
    models = [trained(arguments.work, seed, arguments.derivative, arguments.images) for seed in arguments.seed]
    vae = load(START).vae
    for model in models:
        for line in strength_lines(measure(model, originals(vae, graded(model.seed)))):
            print(line)
    assess(models, arguments.work / "response-flow", arguments.baselines, tuple(arguments.metrics))


if __name__ == "__main__":
    main()
