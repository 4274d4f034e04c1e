"""A small denoiser of points in the plane, several copies of which are trained side by side from different seeds."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

WIDTH = 64
BATCH = 128
LEARNING_RATE = 2e-3
EMA = 0.995
FREQUENCIES = 6
"""Of log sigma, which is how the network is told the noise level."""

Parameters = list[Tensor]


def predict(parameters: Parameters, x: Tensor, sigma: Tensor) -> Tensor:
    """The noise predicted by each of S networks, [S, N, 2], at x [S, N, 2] with noise of sigma [N]."""
    phases = sigma.log()[:, None] * torch.arange(1, FREQUENCIES + 1) * (math.pi / 8)
    features = torch.cat([phases.sin(), phases.cos()], dim=-1).expand(len(x), -1, -1)
    hidden = torch.cat([x, x / sigma[:, None], features], dim=-1)
    *inner, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
    for layer_weight, layer_bias in inner:
        hidden = torch.nn.functional.silu(torch.baddbmm(layer_bias, hidden, layer_weight))
    return torch.baddbmm(bias, hidden, weight)


def collapse(parameters: Parameters, points: Tensor, sigma: float) -> Tensor:
    """h of the first coordinate, sigma d eps_1 / d x_1, exactly: [S, N], at x_t = points [N, 2]."""
    networks = len(parameters[0])
    x = points.repeat(networks, 1, 1)
    direction = torch.zeros_like(x)
    direction[..., 0] = 1
    levels = torch.full((len(points),), sigma)
    _, product = torch.func.jvp(lambda at: predict(parameters, at, levels), (x,), (direction,))
    return sigma * product[..., 0]


def train(
    data: Tensor, alphas_cumprod: Tensor, checkpoints: Iterable[int], networks: int, seed: int = 0
) -> Iterator[tuple[int, Parameters]]:
    """Train on points [N, 2], drawn with replacement; timesteps are uniform.

    Args:
        alphas_cumprod: [T], of the noise schedule.
        checkpoints: numbers of steps, ascending, after which the moving averages are yielded.
        networks: S; their initial weights and batches differ.
        seed: of everything that is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = _initial(networks, generator)
    averages = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    done = 0
    for checkpoint in checkpoints:
        for step in range(done + 1, checkpoint + 1):
            clean = data[torch.randint(len(data), (networks, BATCH), generator=generator)]
            kept = alphas_cumprod[torch.randint(len(alphas_cumprod), (BATCH,), generator=generator)]
            noise = torch.randn(clean.shape, generator=generator)
            noisy = kept.sqrt()[:, None] * clean + (1 - kept).sqrt()[:, None] * noise
            # Summed over the networks, so that each has the gradient of its own mean.
            loss = (predict(parameters, noisy, (1 - kept).sqrt()) - noise).square().mean((1, 2)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - min(EMA, step / (step + 10)))
        done = checkpoint
        yield checkpoint, [average.clone() for average in averages]


def _initial(networks: int, generator: torch.Generator) -> Parameters:
    sizes = [2 + 2 + 2 * FREQUENCIES, WIDTH, WIDTH, WIDTH, 2]
    parameters = []
    for inputs, outputs in pairwise(sizes):
        weight = torch.randn(networks, inputs, outputs, generator=generator) / math.sqrt(inputs)
        parameters += [weight.requires_grad_(True), torch.zeros(networks, 1, outputs, requires_grad=True)]
    return parameters
