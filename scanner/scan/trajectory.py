"""The guided trajectory of a batch of latents, one state per step."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.model.engine import Engine
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.sampling.schedule import SolverStep


def trajectory(
    engine: Engine,
    steps: Sequence[SolverStep],
    noise: NDArray[np.float32],
    cond: Mapping[str, Value],
    uncond: Mapping[str, Value],
    guidance_scale: float,
) -> Iterator[Value]:
    """Yield x before each step, then the final x_0: `len(steps) + 1` values [N, C, h, w] on the device.

    A step is computed only when the state after it is asked for, and not at all for no images (N = 0).

    Args:
        noise: initial latents [N, C, h, w].
        cond, uncond: text encodings, values [N, ...] by the name of the denoiser's input.
    """
    sample, denoised = engine.upload(noise), engine.upload(np.zeros_like(noise))
    for step in steps:
        yield sample
        if len(noise):
            answer = engine.step(sample, step, cond, uncond, denoised, guidance_scale)
            sample, denoised = answer.next_sample, answer.denoised
    yield sample
