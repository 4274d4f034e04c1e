"""EDM as a checkpoint's scheduler has it (Karras et al., arXiv 2206.00364; `EDMEulerScheduler` and its DPM-Solver).

At r = sigma / alpha the network sees c_in X, X = x / alpha, and its answer F makes the image, with s = sigma_data:

    d = c_skip X + c_out F,  c_in = 1 / sqrt(r^2 + s^2),  c_skip = s^2 / (r^2 + s^2),  c_out = +- r s / sqrt(r^2 + s^2)

+ where diffusers calls it epsilon, - where v_prediction. With alpha^2 + sigma^2 = 1 and q^2 = sigma^2 + alpha^2 s^2 it
sees x / q, and is a model of v = (alpha x - d) / sigma, without any division by a level:

    v = alpha sigma (1 - s^2) x / q^2 -+ s F / q
"""

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from memscan.export.checkpoint.prediction import column
from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.schedules import EdmSchedule


@dataclasses.dataclass(frozen=True)
class Preconditioning:
    """`sigma_data` is the deviation of the latents that the network was made for, `sign` that of c_out."""

    sigma_data: float
    sign: int

    def seen(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network takes for x [N, C, h, w] at the noise level alpha, sigma [N]."""
        return x / self._q(alpha, sigma)

    def to_v(self, answer: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """v [N, C, h, w], of the network's answer F and x."""
        q = self._q(alpha, sigma)
        skipped = column(alpha * sigma * (1 - self.sigma_data**2)) * x / q**2
        return skipped - self.sign * self.sigma_data * answer / q

    def _q(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return column(sigma**2 + (self.sigma_data * alpha) ** 2) ** 0.5


def read_edm_schedule(file: Path, config: dict[str, Any]) -> EdmSchedule:
    """The schedule of a checkpoint with EDM's noise.

    Args:
        config: as `read_scheduler` returns it.

    Raises:
        ExportError: the configuration is no schedule.
    """
    try:
        return EdmSchedule(
            num_train_timesteps=config["num_train_timesteps"],
            sigma_min=float(config["sigma_min"]),
            sigma_max=float(config["sigma_max"]),
            sigma_schedule=config["sigma_schedule"],
            rho=float(config["rho"]),
        )
    except (TypeError, ValueError) as error:
        raise ExportError(f"{file} gives no noise schedule: {first_line(error)}") from error


def read_preconditioning(file: Path, config: dict[str, Any]) -> Preconditioning:
    """How the network of a checkpoint with EDM's noise is asked.

    Raises:
        ExportError: `sigma_data` is no positive number.
    """
    sigma_data = config["sigma_data"]
    if not isinstance(sigma_data, int | float) or isinstance(sigma_data, bool) or not 0 < sigma_data < float("inf"):
        raise ExportError(f"{file} has sigma_data {sigma_data!r}: it must be a positive number")
    return Preconditioning(float(sigma_data), 1 if config["prediction_type"] == "epsilon" else -1)
