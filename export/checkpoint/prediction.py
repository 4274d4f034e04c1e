"""What a denoiser was trained to predict, and what follows from it: eps, and the denoised estimate d of x_0.

    epsilon           eps = noise
    v_prediction      v = alpha noise - sigma x_0    eps = alpha v + sigma x    d = alpha x - sigma v
    flow_prediction   v = noise - x_0                eps = x + alpha v          d = x - sigma v

where x = alpha x_0 + sigma noise; v-prediction has alpha^2 + sigma^2 = 1 (Salimans and Ho, arXiv 2202.00512), flow
matching alpha + sigma = 1 (Lipman et al., arXiv 2210.02747). Neither v needs a division by alpha, so that both hold at
pure noise, where eps = x says nothing of v.
"""

from typing import assert_never

from torch import Tensor

from memscan.scanner.bundle import PREDICTIONS, Prediction
from memscan.scanner.errors import ExportError


def known_prediction(name: str) -> Prediction:
    """The prediction type of this name.

    Raises:
        ExportError: there is none of which eps can be made ("sample" has no eps at sigma = 0).
    """
    for known in PREDICTIONS:
        if name == known:
            return known
    raise ExportError(f"prediction type {name!r} is not supported: need {' or '.join(PREDICTIONS)}")


def to_eps(kind: Prediction, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """eps [N, C, h, w], of a prediction and x [N, C, h, w] at the noise level alpha, sigma [N]."""
    match kind:
        case "epsilon":
            return prediction
        case "v_prediction":
            return column(alpha) * prediction + column(sigma) * x
        case "flow_prediction":
            return x + column(alpha) * prediction
        case unknown:
            assert_never(unknown)


def to_denoised(kind: Prediction, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The denoised estimate [N, C, h, w], of the same; of eps there must be a signal, alpha > 0."""
    match kind:
        case "epsilon":
            return (x - column(sigma) * prediction) / column(alpha)
        case "v_prediction":
            return column(alpha) * x - column(sigma) * prediction
        case "flow_prediction":
            return x - column(sigma) * prediction
        case unknown:
            assert_never(unknown)


def column(values: Tensor) -> Tensor:
    """[N] as [N, 1, 1, 1], to go with latents."""
    return values[:, None, None, None]
