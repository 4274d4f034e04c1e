"""What a denoiser is told beside latents and text, as diffusers' pipelines tell it."""

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from memscan.export.checkpoint.denoiser import EpsDenoiser
from tests.tiny_pipeline import POOLED, tiny_unet

LATENT, TEXT = (4, 8, 8), (7, 24)


def denoiser(family: str = "sd1", *, scored: bool = False, **changes: object) -> EpsDenoiser:
    torch.manual_seed(0)
    # from_config leaves out what a model has from its class alone, whatever it is changed to.
    config = {**tiny_unet(family, TEXT[1]).config, "_use_default_values": [], **changes}
    unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    return EpsDenoiser(unet, "epsilon", (32, 24) if family == "sdxl" else None, scored=scored)


@pytest.mark.parametrize("scale", [1.0, 1.5, 7.5, 8.3])
@pytest.mark.parametrize("width", [32, 33])
def test_the_scale_of_guidance_is_embedded_as_by_the_pipeline(scale: float, width: int) -> None:
    """1e-4: a scale less 1, rounded to float32, is multiplied by 1000 before its sine is taken."""
    told = denoiser(time_cond_proj_dim=width)
    unet, seen = told.unet, {}
    unet.register_forward_pre_hook(lambda module, args, inputs: seen.update(inputs), with_kwargs=True)
    shapes = told.input_shapes(2, LATENT, TEXT)
    told(**{name: torch.full(shape, scale if name == "guidance" else 0.5) for name, shape in shapes.items()})
    embed = StableDiffusionPipeline.get_guidance_scale_embedding
    expected = embed(None, torch.tensor(scale - 1).repeat(2), embedding_dim=width)
    torch.testing.assert_close(seen["timestep_cond"], expected, rtol=0, atol=1e-4)


def test_channels_join_the_latents_behind_them() -> None:
    shown = denoiser(in_channels=9)
    seen = []
    shown.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    shapes = shown.input_shapes(2, LATENT, TEXT)
    assert shapes["channels"] == (2, 5, 8, 8)
    values = {name: torch.full(shape, 3.0 if name == "channels" else 0.5) for name, shape in shapes.items()}
    assert shown(**values).shape == (2, *LATENT)
    assert seen[0][:, :4].eq(0.5).all() and seen[0][:, 4:].eq(3).all()


def test_a_refiner_is_told_its_score_in_place_of_the_target_size() -> None:
    told = denoiser("sdxl", scored=True, projection_class_embeddings_input_dim=POOLED + 5 * 8)
    seen: dict[str, torch.Tensor] = {}
    told.unet.register_forward_pre_hook(
        lambda module, args, inputs: seen.update(inputs["added_cond_kwargs"]), with_kwargs=True
    )
    values = {name: torch.full(shape, 0.5) for name, shape in told.input_shapes(2, LATENT, TEXT).items()}
    told(**{**values, "aesthetic_score": torch.tensor([6.0, 2.5])})
    assert seen["time_ids"].tolist() == [[32, 24, 0, 0, 6], [32, 24, 0, 0, 2.5]]
