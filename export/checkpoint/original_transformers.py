"""The original names of the tensors of SD 3's and FLUX.1's transformers, for files of a whole model and of additions.

The original code has one linear layer where diffusers has several, whose rows lie one behind the other, and the shift
before the scale in the adaptive norm that ends a stream. diffusers' own conversions of FLUX.1 and its adapters are for
the published widths and depths alone; this one is equal to them there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

Shape = tuple[int, ...]

_EMBEDDERS = {
    "SD3Transformer2DModel": (
        (r"pos_embed\.proj", "x_embedder.proj"),
        (r"pos_embed\.pos_embed", "pos_embed"),
        (r"time_text_embed\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
        (r"time_text_embed\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
        (r"time_text_embed\.text_embedder\.linear_1", "y_embedder.mlp.0"),
        (r"time_text_embed\.text_embedder\.linear_2", "y_embedder.mlp.2"),
        (r"context_embedder", "context_embedder"),
    ),
    "FluxTransformer2DModel": (
        (r"time_text_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
        (r"time_text_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
        (r"time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
        (r"time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
        (r"time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
        (r"time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
        (r"context_embedder", "txt_in"),
        (r"x_embedder", "img_in"),
    ),
}
_JOINT, _DOUBLE = r"transformer_blocks\.(\d+)\.", r"transformer_blocks\.(\d+)\."
_SINGLE = r"single_transformer_blocks\.(\d+)\."
_X, _CONTEXT = r"joint_blocks.\1.x_block.", r"joint_blocks.\1.context_block."
_IMG, _TXT, _ONE = r"double_blocks.\1.img_", r"double_blocks.\1.txt_", r"single_blocks.\1."

_BLOCKS = {
    "SD3Transformer2DModel": (
        (_JOINT + r"(attn2?)\.to_([qkv])", _X + r"\2.qkv"),
        (_JOINT + r"attn\.add_([qkv])_proj", _CONTEXT + "attn.qkv"),
        (_JOINT + r"(attn2?)\.norm_([qk])", _X + r"\2.ln_\3"),
        (_JOINT + r"attn\.norm_added_([qk])", _CONTEXT + r"attn.ln_\2"),
        (_JOINT + r"(attn2?)\.to_out\.0", _X + r"\2.proj"),
        (_JOINT + r"attn\.to_add_out", _CONTEXT + "attn.proj"),
        (_JOINT + r"norm1\.linear", _X + "adaLN_modulation.1"),
        (_JOINT + r"norm1_context\.linear", _CONTEXT + "adaLN_modulation.1"),
        (_JOINT + r"ff\.net\.0\.proj", _X + "mlp.fc1"),
        (_JOINT + r"ff\.net\.2", _X + "mlp.fc2"),
        (_JOINT + r"ff_context\.net\.0\.proj", _CONTEXT + "mlp.fc1"),
        (_JOINT + r"ff_context\.net\.2", _CONTEXT + "mlp.fc2"),
    ),
    "FluxTransformer2DModel": (
        (_DOUBLE + r"attn\.to_([qkv])", _IMG + "attn.qkv"),
        (_DOUBLE + r"attn\.add_([qkv])_proj", _TXT + "attn.qkv"),
        (_DOUBLE + r"attn\.norm_q", _IMG + "attn.norm.query_norm"),
        (_DOUBLE + r"attn\.norm_k", _IMG + "attn.norm.key_norm"),
        (_DOUBLE + r"attn\.norm_added_q", _TXT + "attn.norm.query_norm"),
        (_DOUBLE + r"attn\.norm_added_k", _TXT + "attn.norm.key_norm"),
        (_DOUBLE + r"attn\.to_out\.0", _IMG + "attn.proj"),
        (_DOUBLE + r"attn\.to_add_out", _TXT + "attn.proj"),
        (_DOUBLE + r"norm1\.linear", _IMG + "mod.lin"),
        (_DOUBLE + r"norm1_context\.linear", _TXT + "mod.lin"),
        (_DOUBLE + r"ff\.net\.0\.proj", _IMG + "mlp.0"),
        (_DOUBLE + r"ff\.net\.2", _IMG + "mlp.2"),
        (_DOUBLE + r"ff_context\.net\.0\.proj", _TXT + "mlp.0"),
        (_DOUBLE + r"ff_context\.net\.2", _TXT + "mlp.2"),
        (_SINGLE + r"attn\.to_([qkv])", _ONE + "linear1"),
        (_SINGLE + r"proj_mlp", _ONE + "linear1"),
        (_SINGLE + r"attn\.norm_q", _ONE + "norm.query_norm"),
        (_SINGLE + r"attn\.norm_k", _ONE + "norm.key_norm"),
        (_SINGLE + r"proj_out", _ONE + "linear2"),
        (_SINGLE + r"norm\.linear", _ONE + "modulation.lin"),
    ),
}
_LAST = ((r"proj_out", "final_layer.linear"), (r"norm_out\.linear", "final_layer.adaLN_modulation.1"))

_ORDER = ("q", "k", "v", "q_proj", "k_proj", "v_proj", "proj_mlp")
"""Of the layers that the original code has as one, by the end of their names."""


class Rows(NamedTuple):
    """Which rows of an original tensor are a tensor of diffusers: those of each slice, one after the other."""

    name: str
    slices: tuple[slice, ...]

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """These rows of `tensor` [rows, ...]; itself where they are all of it, in order."""
        if self.slices == (slice(None),):
            return tensor
        return torch.cat([tensor[rows] for rows in self.slices])


def original_rows(cls: str, shapes: Mapping[str, Shape]) -> dict[str, Rows]:
    """Where each tensor of a transformer is in the original code, by its name in diffusers.

    Args:
        cls: "SD3Transformer2DModel" or "FluxTransformer2DModel".
        shapes: of all its tensors.
    """
    together: dict[str, list[str]] = {}
    for name in shapes:
        together.setdefault(_original(cls, name), []).append(name)
    exchanged = {f"{module}.{leaf}" for module in _exchanged(cls, shapes) for leaf in ("weight", "bias")}
    found: dict[str, Rows] = {}
    for original, names in together.items():
        if len(names) == 1:
            (name,) = names
            half = shapes[name][0] // 2
            swapped = slice(half, None), slice(half)
            found[name] = Rows(original, swapped if name in exchanged else (slice(None),))
            continue
        start = 0
        for name in sorted(names, key=_place):
            found[name] = Rows(original, (slice(start, start + shapes[name][0]),))
            start += shapes[name][0]
    return found


def _original(cls: str, name: str) -> str:
    """The original name of a tensor of diffusers: that of its module and its leaf."""
    module, _, leaf = name.rpartition(".")
    if name == "pos_embed.pos_embed":
        module, leaf = name, ""
    for pattern, original in (*_EMBEDDERS[cls], *_BLOCKS[cls], *_LAST):
        found = re.fullmatch(pattern, module)
        if found:
            scaled = cls == "FluxTransformer2DModel" and original.endswith("_norm") and leaf == "weight"
            tail = "scale" if scaled else leaf
            return ".".join(part for part in (found.expand(original), tail) if part)
    return name


def _place(name: str) -> int:
    layer = name.split(".")[-2].removeprefix("to_").removeprefix("add_")
    return _ORDER.index(layer)


def _exchanged(cls: str, names: Iterable[str]) -> Sequence[str]:
    """The modules that have the scale before the shift, and the original code the shift before the scale."""
    if cls == "FluxTransformer2DModel":
        return ("norm_out.linear",)
    last = max(int(found[1]) for name in names if (found := re.match(_JOINT, name)))
    return ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")
