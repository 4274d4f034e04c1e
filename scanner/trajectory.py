"""The guided trajectory of a batch of latents, one state per step."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.engine import Engine
from memscan.scanner.schedule import SolverStep

Array = NDArray[np.float32]


def trajectory(
    engine: Engine, steps: Sequence[SolverStep], noise: Array, cond: Array, uncond: Array, guidance_scale: float
) -> Iterator[Array]:
    """Yield x before each step, then the final x_0: `len(steps) + 1` arrays [N, C, h, w].

    A step is computed only when the state after it is asked for, and not at all for no images (N = 0).

    Args:
        noise: initial latents [N, C, h, w].
        cond, uncond: text encodings [N, S, D].
    """
    sample, denoised = noise, np.zeros_like(noise)
    for step in steps:
        yield sample
        if len(sample):
            coefficients = step.a, step.b, step.c
            sample, denoised = engine.step(sample, step.timestep, cond, uncond, denoised, guidance_scale, coefficients)
    yield sample
