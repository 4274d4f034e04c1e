"""A diffusers folder saved as one file under the names of the original code: the inverse of diffusers' conversion."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.module_names import original_names
from tests.export.checkpoint.spoil import WEIGHTS, Tensors

_VAE = (
    (r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"mid_block\.resnets\.0\.", r"mid.block_1."),
    (r"mid_block\.resnets\.1\.", r"mid.block_2."),
    (r"mid_block\.attentions\.0\.", r"mid.attn_1."),
    (r"\.group_norm\.", r".norm."),
    (r"\.to_(q|k|v)\.", r".\1."),
    (r"\.to_out\.0\.", r".proj_out."),
    (r"\.conv_norm_out\.", r".norm_out."),
    (r"\.conv_shortcut\.", r".nin_shortcut."),
)
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def save_as_one_file(pipeline: Path, file: Path, *, encoder: str = "clip") -> Path:
    """Save the pipeline of one layer a block; the text encoder of SD 1.x as "clip", of SD 2.x as "open_clip"."""
    tensors = {f"model.diffusion_model.{key}": tensor for key, tensor in _unet(pipeline).items()}
    tensors |= {f"first_stage_model.{key}": tensor for key, tensor in original_vae(pipeline).items()}
    first = load_file(pipeline / "text_encoder" / WEIGHTS["text_encoder"])
    if (pipeline / "text_encoder_2").exists():
        second = load_file(pipeline / "text_encoder_2" / WEIGHTS["text_encoder_2"])
        tensors |= {f"conditioner.embedders.0.transformer.{key}": tensor for key, tensor in _clip(first).items()}
        tensors |= {f"conditioner.embedders.1.model.{key}": tensor for key, tensor in _open_clip(second).items()}
    elif encoder == "open_clip":
        tensors |= {f"cond_stage_model.model.{key}": tensor for key, tensor in _open_clip(first).items()}
    else:
        tensors |= {f"cond_stage_model.transformer.{key}": tensor for key, tensor in _clip(first).items()}
    tensors |= {"alphas_cumprod": torch.zeros(1000), "model_ema.decay": torch.zeros(())}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    return file


def _unet(pipeline: Path) -> Tensors:
    tensors = load_file(pipeline / "unet" / WEIGHTS["unet"])
    names = original_names({key.rpartition(".")[0] for key in tensors}, 1)
    return {
        f"{names[module]}.{leaf}": tensor
        for (module, _, leaf), tensor in ((key.rpartition("."), tensor) for key, tensor in tensors.items())
    }


def original_vae(pipeline: Path) -> Tensors:
    tensors = {}
    for key, tensor in load_file(pipeline / "vae" / WEIGHTS["vae"]).items():
        name = re.sub(r"up_blocks\.(\d+)", lambda found: f"up_blocks.{2 - int(found[1])}", key)  # of three
        for pattern, replacement in _VAE:
            name = re.sub(pattern, replacement, name)
        # Attention was made of convolutions.
        attended = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)
        tensors[name] = tensor[:, :, None, None] if attended else tensor
    return tensors


def _clip(tensors: Tensors) -> Tensors:
    bare = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    positions = {"text_model.embeddings.position_ids": torch.arange(20)[None]}
    return {f"text_model.{key}": tensor for key, tensor in bare.items()} | positions


def _open_clip(tensors: Tensors) -> Tensors:
    bare = {key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    named = {
        "token_embedding.weight": bare["embeddings.token_embedding.weight"],
        "positional_embedding": bare["embeddings.position_embedding.weight"],
        "ln_final.weight": bare["final_layer_norm.weight"],
        "ln_final.bias": bare["final_layer_norm.bias"],
        "logit_scale": torch.zeros(()),
    }
    if "text_projection.weight" in bare:
        named["text_projection"] = bare["text_projection.weight"].T
    for layer in (0, 1):
        head, new = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for old, short in _OPEN_CLIP.items():
            named |= {f"{new}.{short}.{leaf}": bare[f"{head}.{old}.{leaf}"] for leaf in ("weight", "bias")}
        for leaf in ("weight", "bias"):
            joined = [bare[f"{head}.self_attn.{each}_proj.{leaf}"] for each in "qkv"]
            named[f"{new}.attn.in_proj_{leaf}"] = torch.cat(joined)
    return named
