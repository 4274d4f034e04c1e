"""How a pipeline of diffusers is asked for the image that a scan makes, where it wants more than a prompt.

Each begins with the seed's noise alone and has the pictures of `example_pictures`, as the scan has them. Inpainting
draws a sample of the masked picture's latents; it is given their mode, which the bundle's encoder gives. Depth begins
with a noised picture; it is given the noise. Editing guides by picture and by text; at an image guidance of 1 that is
guidance by text alone, the picture shown to both branches.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.scanner.bundle_parts import ChannelKind

Pictures = Mapping[str, Image.Image]


def example_pictures(kind: ChannelKind, size: tuple[int, int]) -> Pictures:
    """The pictures that a denoiser is shown in a comparison, by the role of a manifest's column.

    Args:
        size: (H, W) in pixels.
    """
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    colours = np.stack([x, y, (1 + np.sin(7 * x + 5 * y)) / 2], axis=-1)
    pictures = {"condition_image": Image.fromarray((colours * 255).astype(np.uint8))}
    if kind == "inpainting":
        pictures["condition_mask"] = Image.fromarray(np.where(x + y < 1.1, 255, 0).astype(np.uint8))
    return pictures


def encoded(pictures: Pictures) -> dict[str, bytes]:
    """The pictures as files, as a row brings them."""
    files = {}
    for role, picture in pictures.items():
        with io.BytesIO() as file:
            picture.save(file, "PNG")
            files[role] = file.getvalue()
    return files


def ask(pipeline: DiffusionPipeline, checkpoint: Checkpoint, parts: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a checkpoint's own pipeline is given beside prompt, steps and guidance; it may be prepared for it.

    Args:
        parts: as `own_pipeline` takes them.
        seed: of the noise.
    """
    size, generator = checkpoint.image_size(), torch.Generator("cpu").manual_seed(seed)
    given = {} if checkpoint.cells is None else {"height": size[0], "width": size[1]}
    given |= {"clip_skip": checkpoint.clip_skip} if checkpoint.clip_skip else {}
    family = checkpoint.family
    if family.channels is None and not family.scored:
        return {"generator": generator, **given}
    noise = torch.randn(1, *checkpoint.latent_shape(), generator=generator)
    pictures = example_pictures(family.channels or "edit", size)
    picture = pictures["condition_image"]
    if family.scored:
        return {"image": picture, "latents": noise, "strength": 1.0}
    if family.channels == "edit":
        return {"image": picture, "latents": noise, "image_guidance_scale": 1.0}
    if family.channels == "depth":
        pipeline.prepare_latents = lambda *arguments, **named: noise
        depth = torch.from_numpy(np.asarray(picture.convert("L"), np.float32))[None]
        return {"image": picture, "depth_map": depth, "strength": 1.0}
    mask = pictures["condition_mask"]
    shown = torch.from_numpy(np.where(np.asarray(mask) >= 128, 0, np.asarray(picture).transpose(2, 0, 1) / 127.5 - 1))
    vae = parts["vae"]
    with torch.no_grad():
        latents = vae.encode(shown[None].float()).latent_dist.mode() * vae.config.scaling_factor
    more = {"image": picture, "mask_image": mask, "masked_image_latents": latents, "latents": noise, "strength": 1.0}
    return {**more, **given}
