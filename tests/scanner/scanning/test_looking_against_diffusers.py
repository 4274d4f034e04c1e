"""Metrics that look into the denoiser, or differentiate it by its text, against torch and diffusers' own pipeline.

What is expected is transcribed from the papers' formulas here, on attention processors that store their weights.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from memscan.scanner.bundle import open_bundle
from memscan.scanner.metrics.probes import make_probes
from tests.scanner.scanning.test_against_diffusers import (
    SAMPLES,
    SETTINGS,
    conditioning,
    diffusers_run,
    load,
    scan_all,
)

NAMES = ("bright_ending", "attention_entropy", "bottleneck_spread", "condition_jacobian", "dh_pad")
LOOKING = dataclasses.replace(SETTINGS, metrics=("dh_uncond", *NAMES))
ROUNDING = 2e-5
"""Of the largest value: float32 in two orders of summation, at states that differ by as much."""
SMALLEST = 1e-2
"""The least value that rounding is relative to: a difference errs as what it is the difference of."""

FINEST = {"sd1": "down_blocks.0", "sdxl": "down_blocks.1"}
"""Where the way down attends to text, in the tiny pipelines."""


class Storing:
    """diffusers' plain processor, which keeps the weights that it computes."""

    def __init__(self, name: str, weights: dict[str, Tensor]) -> None:
        self._name, self._weights = name, weights

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **rest: Any) -> Tensor:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        self._weights[self._name] = attn.get_attention_scores(query, key).unflatten(0, (-1, attn.heads))
        return AttnProcessor()(attn, hidden_states, encoder_hidden_states, **rest)


def look(
    pipeline: DiffusionPipeline, x: Tensor, timestep: int, text: dict[str, Any]
) -> tuple[dict[str, Tensor], Tensor]:
    """Weights [N, heads, M, S] of cross-attention by the layer's name, and the middle block's activation."""
    weights: dict[str, Tensor] = {}
    kept: list[Tensor] = []
    unet = pipeline.unet
    plain = unet.attn_processors
    unet.set_attn_processor({name: Storing(name, weights) if "attn2" in name else AttnProcessor() for name in plain})
    hook = unet.mid_block.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        unet(x, timestep, **text)
    hook.remove()
    unet.set_attn_processor(plain)
    return weights, kept[0]


def bright_ending(weights: dict[str, Tensor], finest: str) -> Tensor:
    """Chen et al.: attention to the final token, mean over heads and the layers of the finest resolution going down."""
    layers = torch.stack([each[..., -1].mean(1) for name, each in weights.items() if name.startswith(finest)])
    side = round(layers.shape[-1] ** 0.5)
    small = layers.mean(0).unflatten(1, (1, side, side))
    return torch.nn.functional.interpolate(small, (8, 8), mode="bilinear", align_corners=False)[:, 0]


def attention_entropy(weights: dict[str, Tensor]) -> Tensor:
    """Ren et al.: E = sum over tokens of -a log a, a the mean over layers, heads and positions."""
    a = torch.stack([each.mean((1, 2)) for each in weights.values()]).mean(0).double()
    return -(a * a.log()).sum(1)


def condition_jacobian(pipeline: DiffusionPipeline, x: Tensor, timestep: int, c: Any, c_0: Any) -> Tensor:
    """| d/d lambda eps(c_0 + lambda (c - c_0)) | at lambda = 1, by torch's forward mode in lambda alone."""

    def between(share: Tensor, end: Any, start: Any) -> Any:
        if isinstance(end, dict):
            return {name: between(share, end[name], start[name]) for name in end}
        return start + share * (end - start)

    def eps(share: Tensor) -> Tensor:
        return pipeline.unet(x, timestep, **between(share, c, c_0)).sample

    with torch.no_grad():
        _, product = torch.func.jvp(eps, (torch.ones(()),), (torch.ones(()),))
    return product.double().flatten(1).norm(dim=1)


def dh_pad(pipeline: DiffusionPipeline, x: Tensor, timestep: int, c: Any, c_0: Any) -> Tensor:
    """sigma (diag J_c - diag J_pad), where positions behind a prompt's end have the encodings of no prompt."""
    tokenizer = pipeline.tokenizer
    states = c["encoder_hidden_states"].clone()
    for row, sample in zip(range(len(x)), SAMPLES, strict=True):
        length = len(tokenizer(sample.prompt, truncation=True).input_ids)
        states[row, length:] = c_0["encoder_hidden_states"][row, length:]
    padded = {**c, "encoder_hidden_states": states}
    sigma = (1 - pipeline.scheduler.alphas_cumprod[timestep].item()) ** 0.5
    total = torch.zeros_like(x)
    probes = torch.from_numpy(make_probes(SETTINGS.probes, (4, 8, 8)))
    with torch.no_grad():
        for probe in probes:
            v = probe.expand_as(x).contiguous()
            for sign, text in ((1, c), (-1, padded)):
                _, jv = torch.func.jvp(lambda x, text=text: pipeline.unet(x, timestep, **text).sample, (x,), (v,))
                total += sign * v * jv
    return sigma * (total / len(probes)).mean(1)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_scan_that_looks_into_the_denoiser_equals_torch(family: str, request: pytest.FixtureRequest) -> None:
    fixture = "tiny" if family == "sd1" else "tiny_xl"
    bundle: Path = request.getfixturevalue(f"{fixture}_bundle")
    pipeline = load(request.getfixturevalue(f"{fixture}_pipeline"))
    states, _ = diffusers_run(pipeline)
    results, _ = scan_all(open_bundle(bundle), LOOKING)
    prompts = [sample.prompt for sample in SAMPLES]
    c, c_0 = conditioning(pipeline, prompts, 3), conditioning(pipeline, None, 3)
    for position, step in enumerate(LOOKING.steps):
        x, timestep = states[step.index], pipeline.scheduler.timesteps.tolist()[step.index]
        weights, _ = look(pipeline, x, timestep, c)
        _, bottleneck = look(pipeline, x, timestep, c_0)
        expected = {
            "bright_ending": bright_ending(weights, FINEST[family]),
            "attention_entropy": attention_entropy(weights),
            "bottleneck_spread": bottleneck.double().flatten(1).std(dim=1, correction=0),
            "condition_jacobian": condition_jacobian(pipeline, x, timestep, c, c_0),
            "dh_pad": dh_pad(pipeline, x, timestep, c, c_0),
        }
        assert set(expected) == set(NAMES)
        for index, result in enumerate(results):
            found = {**result.steps[position].maps, **result.steps[position].scores}
            for name, values in expected.items():
                wanted = values[index].numpy()
                scale = max(np.abs(values.numpy()).max(), SMALLEST)
                np.testing.assert_allclose(found[name], wanted, rtol=0, atol=ROUNDING * scale, err_msg=name)
    found = np.abs(results[0].steps[0].maps["dh_pad"]).max()
    assert found > 100 * ROUNDING * SMALLEST  # padding says something: a hundred times what is allowed
    assert not results[1].steps[0].maps["dh_pad"].any()  # a prompt that was cut has none
