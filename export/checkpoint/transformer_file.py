"""A single file of Stable Diffusion 3 or FLUX.1: where its parts are, and their tensors by diffusers' names.

The VAE and the text encoders are converted by diffusers' functions. As there, the pooled encoding of SD 3's first text
encoder is not projected: the original code leaves out whatever projection a file holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from memscan.export.checkpoint.original_transformers import original_rows

_DENOISER = "model.diffusion_model."
_CLIP_L = "text_encoders.clip_l.transformer."
_CLIP_G = "text_encoders.clip_g.transformer."
_T5 = "text_encoders.t5xxl.transformer."
_VAES = ("first_stage_model.", "vae.")

_MARKS = {
    "stable-diffusion-3": "joint_blocks.0.context_block.adaLN_modulation.1.bias",
    "flux-1": "double_blocks.0.img_attn.norm.key_norm.scale",
}
"""The tensor by which diffusers too tells them, with or without the denoiser's prefix."""

_ENCODERS = {
    "stable-diffusion-3": {"text_encoder": (_CLIP_L,), "text_encoder_2": (_CLIP_G,), "text_encoder_3": (_T5,)},
    "flux-1": {"text_encoder": (_CLIP_L,), "text_encoder_2": (_T5,)},
}

TITLES = {"stable-diffusion-3": "Stable Diffusion 3", "flux-1": "FLUX.1"}

UNUSED = tuple(f"text_encoders.{name}.logit_scale" for name in ("clip_l", "clip_g", "t5xxl"))
"""The temperature of CLIP's training."""

_TIED = "encoder.embed_tokens.weight"
"""T5's table of embeddings, which its class has twice."""


def transformer_kind(keys: Iterable[str]) -> str | None:
    """Of which of the two families a file is, by the names of its weights, or None."""
    keys = frozenset(keys)
    return next((kind for kind, mark in _MARKS.items() if keys & {mark, _DENOISER + mark}), None)


def prefixes_of(kind: str, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What the names of each part's tensors begin with; "" where those of the transformer have no prefix."""
    prefixed = _DENOISER + _MARKS[kind] in frozenset(keys)
    return {"transformer": (_DENOISER if prefixed else "",), "vae": _VAES, **_ENCODERS[kind]}


def convert_part(
    part: str, prefix: str, given: Mapping[str, torch.Tensor], module: Any
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors of the transformer or a text encoder by diffusers' names, and the keys of which nothing was made.

    Args:
        given: its tensors in the file, whose names begin with `prefix`.
        module: the part as its configuration says.
    """
    from diffusers.loaders import single_file_utils as diffusers_utils

    if part == "transformer":
        bare = {key.removeprefix(prefix): key for key in given}
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        rows = original_rows(type(module).__name__, shapes)
        state = {name: each.of(given[bare[each.name]]) for name, each in rows.items() if each.name in bare}
        used = {each.name for each in rows.values()}
        return state, sorted(key for name, key in bare.items() if name not in used)
    if prefix == _T5:
        state = diffusers_utils.convert_sd3_t5_checkpoint_to_diffusers(dict(given))
        table = state.pop(_TIED, None)
        return ({"shared.weight": table} if table is not None else {}) | state, []
    state = diffusers_utils.convert_ldm_clip_checkpoint(dict(given), prefix)
    projected = "text_projection.weight" in module.state_dict()
    if prefix == _CLIP_L:
        state.pop("text_projection.weight", None)
        if projected:
            state["text_projection.weight"] = torch.eye(module.config.hidden_size)
    return state, []


def expected_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a part must have, each once."""
    state = module.state_dict()
    return {name: tensor for name, tensor in state.items() if name != _TIED or "shared.weight" not in state}
