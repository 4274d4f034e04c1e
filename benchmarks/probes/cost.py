"""What probes cost, in forward passes of the denoiser and by the count of operations that a bundle records."""

from memscan.scanner.bundle import Bundle
from memscan.scanner.settings import Derivative

CONDITIONS = 2
"""The prompt and none."""
SD1_PASSES: dict[Derivative, float] = {"shallow": 2.0, "frozen": 7.9, "exact": 10.2}
"""Of a call of 8 tangents with Stable Diffusion 1.x's architecture; see docs/derivative.md."""
_TANGENTS = 8


def tangent_passes(bundle: Bundle, derivative: Derivative) -> float:
    """Forward passes that one tangent adds to a call."""
    return (bundle.passes[derivative] - 1) / bundle.tangents_per_call


def beyond_sampling(bundle: Bundle, derivative: Derivative, probes: float) -> float:
    """Forward passes that measuring prompt and none adds to sampling; `probes` is their number for each, or the mean.

    The sampler's step from a measured state takes eps from the measurement, so that the forward passes in a measuring
    call are those that sampling makes anyway; where sampling ends at the measured state, two more are to be added.
    """
    return CONDITIONS * probes * tangent_passes(bundle, derivative)


def beyond_sampling_sd1(derivative: Derivative, probes: float) -> float:
    """The same with the architecture of Stable Diffusion 1.x."""
    return CONDITIONS * probes * (SD1_PASSES[derivative] - 1) / _TANGENTS
