"""How long a training of the graded bench is, and how often it drops captions."""

from collections.abc import Sequence

import torch

from testbed.captions import DROPOUT
from testbed.denoiser import BATCH
from testbed.graded.captions import Graded

GRADED_SHARE = 0.6  # of all exposures; the others are of the testbed's captions of kind none


def steps_of(captions: Sequence[Graded], batch: int = BATCH) -> int:
    """Optimizer steps of a training in which the captions have GRADED_SHARE of the exposures."""
    return round(sum(caption.count for caption in captions) / GRADED_SHARE / batch)


def dropouts(captions: Sequence[Graded], dropout: float, common: int) -> torch.Tensor:
    """Probability [texts] that the caption of an exposure is dropped: `dropout` for graded, DROPOUT for common ones."""
    return torch.tensor([dropout] * len(captions) + [DROPOUT["none"]] * common)
