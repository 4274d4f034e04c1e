"""What benchmarks.derivative compares with: sums of v * (J v) in float64, and the best steps of finite differences."""

import copy
import functools
from collections.abc import Callable

import click
import torch
from diffusers.models.attention_processor import AttnProcessor

from benchmarks.finite_differences import Eps, best_steps, forward_mode
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.storage import StorageDtype, round_weights
from memscan.export.graphs.trace import INPUTS

TANGENTS = 8
"""For which the best steps are sought."""
STORAGES: tuple[StorageDtype, ...] = ("float32", "float16")


def eps_of(denoiser: EpsDenoiser, inputs: dict[str, torch.Tensor]) -> Eps:
    """eps in torch at the level and text of the inputs, for any multiple of their batch."""
    _, *others = (inputs[name] for name in INPUTS)

    def eps(sample: torch.Tensor) -> torch.Tensor:
        repeats = len(sample) // len(others[0])
        result: torch.Tensor = denoiser(sample, *(x.repeat(repeats, *[1] * (x.dim() - 1)) for x in others))
        return result

    return eps


def _in_float64(denoiser: EpsDenoiser, inputs: dict[str, torch.Tensor]) -> tuple[Eps, torch.Tensor, torch.Tensor]:
    """eps, sample and probes, with attention spelled out so that both modes go through it."""
    twin = copy.deepcopy(denoiser).double()
    twin.unet.set_attn_processor(AttnProcessor())
    wide = {name: value.double() for name, value in inputs.items()}
    return eps_of(twin, wide), wide["sample"], wide["tangents"]


def truths(denoiser: EpsDenoiser, inputs: dict[str, torch.Tensor]) -> Callable[[bool, int], torch.Tensor]:
    """What reverse mode, or any other method, should give for K probes, in float64."""
    eps, sample, probes = _in_float64(denoiser, inputs)

    @functools.cache
    def truth(reverse: bool, count: int) -> torch.Tensor:
        if reverse:
            return reverse_mode(eps, sample, probes[:count])
        with torch.no_grad():
            return forward_mode(eps, sample, probes[:count])

    return truth


@torch.no_grad()
def print_best_steps(denoiser: EpsDenoiser, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """The best step of each form of finite differences in float32; prints those of float16 storage too."""
    found = {}
    click.echo("")
    for storage in STORAGES:
        twin = copy.deepcopy(denoiser)
        round_weights(twin, storage)
        eps, sample, probes = _in_float64(twin, inputs)
        truth = forward_mode(eps, sample, probes[:TANGENTS])
        best = best_steps(eps_of(twin, inputs), inputs["sample"], inputs["tangents"][:TANGENTS], truth)
        found[storage] = {name: step for name, (step, _) in best.items()}
        said = (f"{name} h = {step:g}, error {error:.1e}" for name, (step, error) in best.items())
        click.echo(f"finite differences, weights stored in {storage}: {'; '.join(said)}")
    return found["float32"]


def reverse_mode(
    eps: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor, probes: torch.Tensor
) -> torch.Tensor:
    """The sum of v * (J^T v), which estimates the same diagonal."""
    x = sample.clone().requires_grad_(True)
    y = eps(x)
    total = torch.zeros_like(sample)
    for probe in probes:
        (gradient,) = torch.autograd.grad((y * probe).sum(), x, retain_graph=True)
        total += probe * gradient
    return total
