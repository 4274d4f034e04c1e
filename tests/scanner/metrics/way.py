"""The way of one image of the analytic bundle, in closed form: what the formulas of the papers are evaluated on."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.samples import Sample
from memscan.scanner.sampling.ddim import ddim_timesteps
from tests.analytic_model import Analytic, analytic_model
from tests.scanner.scanning.closed_form import SETTINGS, level, sampled_states

Latents = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Way:
    """States z[0], z[1], ... of an image, [C, h, w] each, with alpha and sigma of the first ones.

    `late` are those of timestep 41.
    """

    prompt: str
    z: list[Latents]
    levels: list[tuple[float, float]]
    model: Analytic
    early: Analytic
    late: tuple[float, float]

    def eps(self, j: int, prompt: str, x: Latents | None = None) -> Latents:
        """eps at z[j], or at another x of the same noise level."""
        return self.model.eps(self.z[j] if x is None else x, prompt, *self.levels[j])

    def denoised(self, j: int) -> Latents:
        """The guided estimate of x_0 at z[j]."""
        (alpha, sigma), uncond = self.levels[j], self.eps(j, "")
        guided = uncond + SETTINGS.guidance_scale * (self.eps(j, self.prompt) - uncond)
        return (self.z[j] - sigma * guided) / alpha

    def score(self, denoiser: Analytic, j: int, prompt: str, x: Latents | None = None) -> Latents:
        """s = -eps / sigma."""
        return -denoiser.eps(self.z[j] if x is None else x, prompt, *self.levels[j]) / self.levels[j][1]

    def hessian(self, denoiser: Analytic, j: int, prompt: str) -> Latents:
        """The diagonal of ds/dx: the score is affine in each coordinate alone, so that a difference is exact."""
        here, beside = (self.score(denoiser, j, prompt, x) for x in (self.z[j], self.z[j] + 1))
        return beside - here


def way_of(bundle: Bundle, sample: Sample) -> Way:
    """The way on which a sample is sampled with `SETTINGS`."""
    timesteps = ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)
    return Way(
        sample.prompt,
        sampled_states(bundle, sample, SETTINGS.guidance_scale),
        [level(bundle, timestep) for timestep in timesteps],
        analytic_model(),
        analytic_model("baseline"),
        level(bundle, 41),
    )
