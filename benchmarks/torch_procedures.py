"""What memscan is compared with: the same measurement in torch, as published and as a careful programmer writes it.

Both take a diffusers pipeline and a less-trained one, follow DDIM with guidance, and measure the four maps at one step
with K random signs by reverse mode: v * (J^T v) has the mean diag(J). Nothing of memscan is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel


@dataclass(frozen=True)
class Settings:
    """Sampling steps, guidance scale, index of the measured step, number of probes."""

    steps: int
    guidance: float
    measured_step: int
    probes: int


class Model:
    """A UNet with its text encoder, in evaluation mode."""

    def __init__(self, folder: Path, tokenizer_folder: Path, device: str, dtype: torch.dtype):
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype)
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        self.unet = unet.to(device).eval().requires_grad_(False)
        self.text_encoder = text_encoder.to(device, dtype).eval().requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]

    def eps(self, sample: Tensor, timestep: int, states: Tensor) -> Tensor:
        return self.unet(sample, timestep, states).sample


class Procedures:
    """The two procedures over one pair of models."""

    def __init__(
        self,
        pipeline: Path,
        baseline: Path,
        settings: Settings,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.model = Model(pipeline, pipeline / "tokenizer", device, dtype)
        self.baseline = Model(baseline, pipeline / "tokenizer", device, dtype)
        self.scheduler = DDIMScheduler.from_pretrained(pipeline / "scheduler")
        self.settings = settings

    def as_published(self, prompts: list[str], seeds: list[int]) -> list[dict[str, Tensor]]:
        """Batch 1, and for every metric a trajectory of its own, as the paper's code does it."""
        results = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            maps = {}
            for name, metric in self._metrics().items():
                sample, timestep = self._trajectory([prompt], [seed])
                maps[name] = metric(sample, timestep, [prompt])[0]
            results.append(maps)
        return results

    def fair(self, prompts: list[str], seeds: list[int]) -> list[dict[str, Tensor]]:
        """One trajectory for the whole batch and all metrics; every term is differentiated once."""
        sample, timestep = self._trajectory(prompts, seeds)
        eps_c, diagonal_c = self._eps_and_diagonal(self.model, sample, timestep, prompts)
        eps_0, diagonal_0 = self._eps_and_diagonal(self.model, sample, timestep, [""] * len(prompts))
        eps_b, diagonal_b = self._eps_and_diagonal(self.baseline, sample, timestep, prompts)
        maps = {
            "dh_uncond": diagonal_c - diagonal_0,
            "dh_base": diagonal_c - diagonal_b,
            "ds_uncond": (eps_c - eps_0) ** 2,
            "ds_base": (eps_c - eps_b) ** 2,
        }
        return [{name: values[index] for name, values in maps.items()} for index in range(len(prompts))]

    def _metrics(self) -> dict[str, Callable[[Tensor, int, list[str]], Tensor]]:
        def difference(
            quantity: Callable[[Model, Tensor, int, list[str]], Tensor], other: Model, unconditional: bool
        ) -> Callable[[Tensor, int, list[str]], Tensor]:
            def metric(sample: Tensor, timestep: int, prompts: list[str]) -> Tensor:
                conditional = quantity(self.model, sample, timestep, prompts)
                reference = [""] * len(prompts) if unconditional else prompts
                return conditional - quantity(other, sample, timestep, reference)

            return metric

        def diagonal(model: Model, sample: Tensor, timestep: int, prompts: list[str]) -> Tensor:
            return self._eps_and_diagonal(model, sample, timestep, prompts)[1]

        @torch.no_grad()
        def eps(model: Model, sample: Tensor, timestep: int, prompts: list[str]) -> Tensor:
            return model.eps(sample, timestep, model.encode(prompts))

        def squared(metric: Callable[[Tensor, int, list[str]], Tensor]) -> Callable[[Tensor, int, list[str]], Tensor]:
            return lambda sample, timestep, prompts: metric(sample, timestep, prompts) ** 2

        return {
            "dh_uncond": difference(diagonal, self.model, True),
            "dh_base": difference(diagonal, self.baseline, False),
            "ds_uncond": squared(difference(eps, self.model, True)),
            "ds_base": squared(difference(eps, self.baseline, False)),
        }

    @torch.no_grad()
    def _trajectory(self, prompts: list[str], seeds: list[int]) -> tuple[Tensor, int]:
        """x_t at the measured step, and its timestep."""
        states = torch.cat([self.model.encode([""] * len(prompts)), self.model.encode(prompts)])
        config = self.model.unet.config
        shape = (1, config.in_channels, config.sample_size, config.sample_size)
        sample = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        sample = sample.to(states.device, states.dtype)
        self.scheduler.set_timesteps(self.settings.steps)
        for index, timestep in enumerate(self.scheduler.timesteps):
            if index == self.settings.measured_step:
                return sample, int(timestep)
            eps_0, eps_c = self.model.eps(torch.cat([sample, sample]), timestep, states).chunk(2)
            eps = eps_0 + self.settings.guidance * (eps_c - eps_0)
            sample = self.scheduler.step(eps, timestep, sample).prev_sample
        raise ValueError(f"step {self.settings.measured_step} is not one of {self.settings.steps}")

    def _eps_and_diagonal(
        self, model: Model, sample: Tensor, timestep: int, prompts: list[str]
    ) -> tuple[Tensor, Tensor]:
        """eps, and the Hutchinson estimate of diag(J) from K reverse passes over one forward pass."""
        sample = sample.clone().requires_grad_(True)
        eps = model.eps(sample, timestep, model.encode(prompts))
        diagonal = torch.zeros_like(sample)
        for _ in range(self.settings.probes):
            probe = torch.randint_like(sample, 0, 2) * 2 - 1
            (product,) = torch.autograd.grad(eps, sample, probe, retain_graph=True)
            diagonal += probe * product
        return eps.detach(), diagonal / self.settings.probes
