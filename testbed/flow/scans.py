"""The trained transformers, as `testbed.bench` scans them: prompts, counts and masks are the graded bench's."""

from pathlib import Path

from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.plan import OBSERVED
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Derivative
from testbed.bench.model import MEASURED_SEEDS, STRENGTH_SEEDS
from testbed.bench.scans import MEASURED
from testbed.flow.train import folder_name
from testbed.graded.scans import Model

BASELINE = 0.25  # share of the training after which a checkpoint is the baseline: nothing was trained before
TIMESTEPS = (335, 126)  # of the ratios of noise to image that the graded bench's 201 and 21 have
STEPS = 10  # of Euler's method
SEEDS = STRENGTH_SEEDS[:4]
METRICS_OF_TRANSFORMERS = tuple(
    name
    for name in MEASURED
    if not METRICS[name].needs_signal and not any(ask.quantity in OBSERVED for ask in METRICS[name].asks)
)
"""Without those of cross-attention and a bottleneck, which a transformer lacks, and of the first state: pure noise."""


def trained(work: Path, seed: int, derivative: Derivative = "exact", images: int = len(MEASURED_SEEDS)) -> Model:
    """What `python -m testbed.flow.train` left of a seed in a work folder, `images` of each prompt to be measured."""
    sampling = Request(
        sampler="euler", num_inference_steps=STEPS, guidance_scale=1.5, timesteps=TIMESTEPS, derivative=derivative
    )
    name, baseline = folder_name(seed), folder_name(seed, BASELINE)
    return Model(work, name, seed, sampling, SEEDS, MEASURED_SEEDS[:images], own_baseline=baseline)
