"""A pipeline of flow matching saved as one file under the original names."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.original_transformers import original_rows
from tests.export.checkpoint.original import original_vae
from tests.export.checkpoint.spoil import Tensors

CLASSES = {"sd3": "SD3Transformer2DModel", "flux": "FluxTransformer2DModel"}
ENCODERS = {
    "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
    "flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
}


def original_transformer(family: str, tensors: Tensors) -> Tensors:
    """The transformer's tensors by their original names: rows put behind each other, and back in their order."""
    rows = original_rows(CLASSES[family], {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    counts: dict[str, int] = {}
    for name, each in rows.items():
        counts[each.name] = counts.get(each.name, 0) + tensors[name].shape[0]
    originals: Tensors = {}
    for name, each in rows.items():
        tensor = tensors[name]
        target = originals.setdefault(each.name, torch.empty(counts[each.name], *tensor.shape[1:]))
        places = torch.cat([torch.arange(counts[each.name])[part] for part in each.slices])
        target[places] = tensor
    return originals


def save_as_one_transformer_file(
    pipeline: Path,
    file: Path,
    family: str,
    *,
    prefix: str = "model.diffusion_model.",
    vae: str = "first_stage_model.",
    parts: tuple[str, ...] = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
) -> Path:
    """Save `parts` of the pipeline; CLIP's with the projection and the temperature that tools write beside it."""
    transformer = load_file(pipeline / "transformer" / "diffusion_pytorch_model.safetensors")
    tensors = {f"{prefix}{key}": tensor for key, tensor in original_transformer(family, transformer).items()}
    if "vae" in parts:
        tensors |= {f"{vae}{key}": tensor for key, tensor in original_vae(pipeline).items()}
    for part, name in ENCODERS[family].items():
        if part not in parts or not (pipeline / part).is_dir():
            continue
        head = f"text_encoders.{name}"
        for key, tensor in load_file(pipeline / part / "model.safetensors").items():
            clip = name != "t5xxl" and not key.startswith(("text_model.", "text_projection"))
            tensors[f"{head}.transformer.{'text_model.' if clip else ''}{key}"] = tensor
        tensors[f"{head}.logit_scale"] = torch.zeros(())
        if name == "clip_l":
            tensors[f"{head}.transformer.text_projection.weight"] = torch.full((32, 32), 0.5)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    return file
