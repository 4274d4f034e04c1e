"""A small transformer with joint attention, as Stable Diffusion 3.5 has it, and how to train it for less.

Without T5 a pipeline has 256 tokens of zeros in place of T5's states. They stay equal to each other from block to
block: one token stands for all of them if attention counts it as often, and the function is the same.
"""

import math
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.attention_processor import Attention
from torch.nn.functional import scaled_dot_product_attention

from testbed.text import WIDTH

PATCH, BLOCKS, HEADS, HEAD = 2, 6, 4, 32
JOINT = 3 * WIDTH  # wider than the two text encoders' states, as T5's would be
T5_TOKENS = 256


def new_transformer() -> SD3Transformer2DModel:
    """An untrained transformer of 3.5 million parameters on latents [N, 4, 16, 16], 64 image tokens."""
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=PATCH,
        in_channels=4,
        out_channels=4,
        num_layers=BLOCKS,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=JOINT,
        caption_projection_dim=HEADS * HEAD,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16 // PATCH,
        qk_norm="rms_norm",
    )


class CountedTokens:
    """Joint attention in which the last text token counts `times` times: diffusers' own with that many equal ones."""

    def __init__(self, times: int) -> None:
        self._bias = math.log(times)

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image tokens [N, S, D] and text tokens [N, T, D] -> what attention adds to each, of the same shapes."""
        count = hidden_states.shape[1]
        image = [project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v)]
        text = [project(encoder_hidden_states) for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)]
        of_image, of_text = ([_split(x, attn.heads) for x in tokens] for tokens in (image, text))
        of_image[:2] = attn.norm_q(of_image[0]), attn.norm_k(of_image[1])
        of_text[:2] = attn.norm_added_q(of_text[0]), attn.norm_added_k(of_text[1])
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(of_image, of_text, strict=True))
        bias = torch.zeros(k.shape[2])
        bias[-1] = self._bias
        y = scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(q.shape[2], -1)).transpose(1, 2).flatten(2)
        added = y[:, count:] if attn.context_pre_only else attn.to_add_out(y[:, count:])
        return attn.to_out[0](y[:, :count]), added


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
