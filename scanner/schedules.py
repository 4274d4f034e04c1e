"""Noise schedules: at which noise levels a model was trained, and how its sampling steps are spaced among them.

Whatever the model, x_t = alpha x_0 + sigma noise; a schedule says which alpha and sigma belong to a timestep, a whole
number from 0 to `last_timestep` that grows with the noise. `memscan.scanner.sampling.schedule` computes them.
"""

import dataclasses
import itertools
from typing import Literal

from memscan.scanner.records import check_range, shown

MOST_TIMESTEPS = 100_000
_SPACINGS = ("leading", "linspace", "trailing")
_LARGEST_SHIFT = 1e4
_LARGEST_RATIO = 1e6


@dataclasses.dataclass(frozen=True)
class DdpmSchedule:
    """A table of alpha^2 with alpha^2 + sigma^2 = 1, with diffusers' names.

    `alphas_cumprod` has one value for each of the `num_train_timesteps` training timesteps; the last may be 0, which is
    pure noise (zero terminal SNR).
    """

    num_train_timesteps: int
    alphas_cumprod: tuple[float, ...]
    steps_offset: int
    set_alpha_to_one: bool
    timestep_spacing: str
    kind: Literal["ddpm"] = "ddpm"

    def __post_init__(self) -> None:
        count = self.num_train_timesteps
        check_range("num_train_timesteps", count, 1, MOST_TIMESTEPS)
        check_range("steps_offset", self.steps_offset, 0, count - 1)
        if self.timestep_spacing not in _SPACINGS:
            raise ValueError(f"timestep_spacing is {shown(self.timestep_spacing)}, not one of {', '.join(_SPACINGS)}")
        if len(self.alphas_cumprod) != count:
            raise ValueError(f"alphas_cumprod has {len(self.alphas_cumprod)} values for {count} training timesteps")
        for index, alpha in enumerate(self.alphas_cumprod):
            if not (0 < alpha < 1 or (alpha == 0 and index == count - 1)):
                raise ValueError(f"alphas_cumprod[{index}] is {alpha}, not between 0 and 1")
        for index, (before, after) in enumerate(itertools.pairwise(self.alphas_cumprod)):
            if after > before:
                raise ValueError(f"alphas_cumprod[{index + 1}] is {after}, more than {before} before it")

    @property
    def last_timestep(self) -> int:
        """The noisiest."""
        return self.num_train_timesteps - 1


@dataclasses.dataclass(frozen=True)
class FlowSchedule:
    """Flow matching: alpha = 1 - s, sigma = s, and the denoiser is told of s as `num_train_timesteps` times s.

    Steps begin at s = shift u / (1 + (shift - 1) u), with u from 1 down to `sigma_min` in equal distances, or where
    that is None to one over the number of steps. `shift` is that of the bundle's image size, where it depends on it.
    """

    num_train_timesteps: int
    shift: float
    sigma_min: float | None
    kind: Literal["flow_matching"] = "flow_matching"

    def __post_init__(self) -> None:
        check_range("num_train_timesteps", self.num_train_timesteps, 1, MOST_TIMESTEPS)
        check_range("shift", self.shift, 1 / _LARGEST_SHIFT, _LARGEST_SHIFT)
        if self.sigma_min is not None and not 0 < self.sigma_min < 1:
            raise ValueError(f"sigma_min is {self.sigma_min}, not between 0 and 1")

    @property
    def last_timestep(self) -> int:
        """The noisiest: pure noise."""
        return self.num_train_timesteps


@dataclasses.dataclass(frozen=True)
class EdmSchedule:
    """Karras et al. (arXiv 2206.00364): alpha = 1 / sqrt(1 + r^2), sigma = r alpha, with r from `sigma_max` down to
    `sigma_min`, which are theirs; the denoiser is told of r as log(r) / 4.

    Steps are in equal distances of r^(1 / rho), or of log r where `sigma_schedule` is exponential; so are timesteps.
    """

    num_train_timesteps: int
    sigma_min: float
    sigma_max: float
    sigma_schedule: Literal["karras", "exponential"]
    rho: float
    kind: Literal["edm"] = "edm"

    def __post_init__(self) -> None:
        check_range("num_train_timesteps", self.num_train_timesteps, 2, MOST_TIMESTEPS)
        check_range("sigma_max", self.sigma_max, 0, _LARGEST_RATIO)
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"sigma_min is {self.sigma_min}, not between 0 and sigma_max {self.sigma_max}")
        check_range("rho", self.rho, 1, _LARGEST_SHIFT)

    @property
    def last_timestep(self) -> int:
        """The noisiest."""
        return self.num_train_timesteps - 1


Schedule = DdpmSchedule | FlowSchedule | EdmSchedule
