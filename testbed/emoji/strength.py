"""`python -m testbed.emoji.strength --work WORK --seed S`: how strongly is each prompt memorized?

The share of 16 seeds whose image copies what the caption owns. Leaves WORK/emoji-seed{S}-strength.csv.
"""

import argparse
from pathlib import Path

from diffusers import AutoencoderKL

from memscan.scanner.evaluation.copies import COPY_RMSE
from testbed.bench.strength import measure, strength_lines
from testbed.emoji.captions import graded
from testbed.emoji.copies import null_distances, originals
from testbed.emoji.scans import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder that `python -m testbed.emoji.train` left")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = Model(arguments.work, arguments.seed)
    vae = AutoencoderKL.from_pretrained(arguments.work / "vae").eval().requires_grad_(False)
    owned = originals(vae, model.artwork, graded(model.artwork, model.seed))
    null = null_distances(vae, model.artwork, owned)
    print(
        f"{null.size} pairs of a fresh picture of another caption and an original: distance {null.min():.3f} or more;"
        f" a copy is below {COPY_RMSE:.3f}",
        flush=True,
    )
    for line in strength_lines(measure(model, owned)):
        print(line)


if __name__ == "__main__":
    main()
