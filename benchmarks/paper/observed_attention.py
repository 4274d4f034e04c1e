"""Cross-attention maps of the testbed's denoiser along DDIM, by attention processors of diffusers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks.paper.short_training import Denoiser
from testbed.tables import HOME
from testbed.text import token_ids


class Observed:
    """A processor that computes attention as `AttnProcessor` does, and keeps its probabilities."""

    def __init__(self) -> None:
        self.probabilities = torch.empty(0)  # [N, heads, M, S]

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        key = attention.head_to_batch_dim(attention.to_k(encoder_hidden_states))
        query = attention.head_to_batch_dim(attention.to_q(hidden_states))
        self.probabilities = attention.get_attention_scores(query, key).unflatten(0, (-1, attention.heads))
        return AttnProcessor()(attention, hidden_states, encoder_hidden_states, attention_mask)


def observe(unet: UNet2DConditionModel) -> dict[str, Observed]:
    """Watch every cross-attention layer; keeps the last call's probabilities by the layer's name."""
    watched = {name: Observed() for name in unet.attn_processors if "attn2" in name}
    unet.set_attn_processor({name: watched.get(name, AttnProcessor()) for name in unet.attn_processors})
    return {name.removesuffix(".transformer_blocks.0.attn2.processor"): each for name, each in watched.items()}


@dataclass(frozen=True)
class Attended:
    """What a batch attended to at one timestep: layer -> mean over heads, [N, h, w, S]; token ids [N, S]."""

    timestep: int
    maps: Mapping[str, Tensor]
    ids: Tensor


@torch.no_grad()
def attended(
    model: Denoiser, prompts: Sequence[str], seeds: Sequence[int], guidance: float, steps: int, at: Sequence[int]
) -> Iterator[Attended]:
    """Sample with guidance, and yield what the prompts' half of the batch attends to at the timesteps `at`."""
    watched = observe(model.unet)
    ids = token_ids(AutoTokenizer.from_pretrained(HOME / "pipeline" / "tokenizer"), [*prompts, ""])
    states = model.text_encoder(ids).last_hidden_state
    states = torch.cat([states[-1:].expand(len(prompts), -1, -1), states[:-1]])
    size = model.unet.config.sample_size
    shape = (1, model.unet.config.in_channels, size, size)
    x = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    scheduler = DDIMScheduler.from_pretrained(HOME / "pipeline" / "scheduler")
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps.tolist():
        eps_0, eps_c = model.unet(torch.cat([x, x]), timestep, states).sample.chunk(2)
        if timestep in at:
            yield Attended(timestep, {name: _as_maps(each) for name, each in watched.items()}, ids[:-1])
        x = scheduler.step(eps_0 + guidance * (eps_c - eps_0), timestep, x).prev_sample


def _as_maps(watched: Observed) -> Tensor:
    prompted = watched.probabilities.chunk(2)[1].mean(dim=1)
    return prompted.unflatten(1, (round(prompted.shape[1] ** 0.5), -1))
