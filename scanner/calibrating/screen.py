"""What `--screen` goes by: the guidance norm over the first guided steps, and where it is rare for clean prompts.

On the embedded model's captions one step tells as many memorized images from everyday ones as any number up to ten, and
the norm more than the maximum or a quantile of ds_path, or the update norm: see docs/calibration.md.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from memscan.scanner.calibrating.grid import own_timesteps
from memscan.scanner.calibrating.labelled import Labelled
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.calibration.clean import clean_scan
from memscan.scanner.calibration.order_statistics import binomial_interval, limit, needed
from memscan.scanner.calibration.record import Recall, ScreenLimit
from memscan.scanner.evaluation.labelled import label
from memscan.scanner.metrics import guidance_norm
from memscan.scanner.run.choice import FREE_MAP
from memscan.scanner.run.request import Request
from memscan.scanner.sampling.schedule import is_pure_noise

STEPS = 1
RATE = 0.05
"""Of clean images that are scanned nevertheless: with so many, they cost about as much as all screening does."""


@dataclasses.dataclass(frozen=True)
class ScreenOrder:
    """So many guided steps for every image, and the share of clean images that may pass."""

    steps: int = STEPS
    rate: float = RATE


DEFAULT_SCREEN = ScreenOrder()


def make_screen(
    scans: Scans, prompts: Sequence[str], seeds: int, request: Request, order: ScreenOrder, known: Labelled | None
) -> ScreenLimit | None:
    """The rule, by scans that end after these steps; None where the good ones of the prompts are too few for the rate.

    Args:
        seeds: of every prompt, the same as in the scan that thresholds are made of.
        known: prompts of which it is known what is memorized: they say what the rule costs.

    Raises:
        UsageError: as `clean_scan` and `label`.
    """
    if len(prompts) < needed(order.rate):
        return None
    own = own_timesteps(scans.bundle, request)
    telling = order.steps + is_pure_noise(scans.bundle.schedule, own[0])  # the step from there says nothing of a prompt
    steps = min(telling, len(own))
    name = guidance_norm.MEAN.name
    sampled = dataclasses.replace(
        request,
        timesteps=(),
        steps=(steps - 1,),
        metrics=(name,),
        mask_map=FREE_MAP,
        score_name=name,
        save_maps=False,
        smooth=1,
    )
    results, _ = scans.scan("screen", scans.manifest("clean", prompts, seeds), sampled)
    scan = clean_scan(results, order.rate)
    values = scan.columns(steps - 1)[name].reshape(len(scan.prompts), scan.images_a_prompt)
    found = limit(values, order.rate)
    recall = None if known is None else _recall(scans, known, sampled, name, found.threshold)
    return ScreenLimit(steps, name, order.rate, found, recall)


def _recall(scans: Scans, known: Labelled, request: Request, name: str, threshold: float) -> Recall | None:
    results, _ = scans.scan("labelled-screen", known.manifest, request)
    (step,), _ = label(results, known.truth, None)
    memorized = (step.kinds != "none") & step.first
    if not memorized.any():
        return None
    values = step.table[name].to_numpy()[memorized]
    passed = int(np.count_nonzero(values >= np.float32(threshold)))
    return Recall(passed, len(values), *binomial_interval(passed, len(values)))
