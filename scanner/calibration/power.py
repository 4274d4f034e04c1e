"""What clean images alone say of a timestep: whether a memorized cell could be told there at all.

Where an image is memorized to within a deviation tau of the latent, whose own is about 1, the curvature collapses to
that of a Gaussian of variance tau^2, in the collapse unit

    h = sigma^2 / (alpha^2 tau^2 + sigma^2)

and a difference of curvatures to h less the curvature that is subtracted, which the clean images show: h_cond - dh.
The power is the share of clean cells in which that would reach the mask's threshold. At low noise h itself vanishes; at
high noise all curvature is large, and nothing is left of the difference.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.sampling.schedule import Level

DEVIATION = 0.1
"""tau: a copy that the eye takes for one."""


def power(difference: NDArray[np.floating], curvature: NDArray[np.floating], threshold: float, noise: Level) -> float:
    """The power of a map of differences of curvature.

    Args:
        difference: the clean map, any shape.
        curvature: the clean h_cond in the same shape.
        threshold: where its mask begins.
    """
    collapsed = noise.sigma**2 / (noise.alpha**2 * DEVIATION**2 + noise.sigma**2)
    subtracted = curvature.astype(np.float32) - difference.astype(np.float32)
    return float(np.mean(collapsed - subtracted >= threshold))
