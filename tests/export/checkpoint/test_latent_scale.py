"""Latents between denoiser and VAE: the statistics of a VAE, as the pipelines of diffusers use them."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from memscan.export.checkpoint.components import Decoder, Encoder
from memscan.export.checkpoint.latent_scale import BY_CHANNEL, SHIFT, check_statistics, from_vae, to_vae
from memscan.scanner.errors import ExportError

PLAIN = {"scaling_factor": 0.5}
MEAN, STD = [0.5, -1.0, 2.0, 0.25], [2.0, 4.0, 0.5, 1.0]
BY = {**PLAIN, "latents_mean": MEAN, "latents_std": STD}
SHIFTED = {**PLAIN, "shift_factor": 0.125}
FILE = Path("vae/config.json")


def latents() -> torch.Tensor:
    return torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))


def test_each_form_is_its_pipelines_formula() -> None:
    x = latents()
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(to_vae(x, PLAIN), x / 0.5, rtol=0, atol=0)
    torch.testing.assert_close(to_vae(x, BY), x * std / 0.5 + mean, rtol=0, atol=0)
    torch.testing.assert_close(to_vae(x, SHIFTED), x / 0.5 + 0.125, rtol=0, atol=0)


@pytest.mark.parametrize("config", [PLAIN, BY, SHIFTED], ids=["plain", "by channel", "shift"])
def test_the_way_back_is_the_inverse(config: dict[str, object]) -> None:
    x = latents()
    torch.testing.assert_close(from_vae(to_vae(x, config), config), x, rtol=1e-6, atol=1e-6)  # float32's rounding


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize("statistics", ["by channel", "shift"])
def test_the_graphs_components_scale_as_diffusers_does(statistics: str, channels: int) -> None:
    """The decoder by the lines of the pipelines of XL, and of SD3 and FLUX, spelled out; the encoder undoes them."""
    torch.manual_seed(0)
    by = {"latents_mean": [0.1 * c for c in range(channels)], "latents_std": [0.5 + c for c in range(channels)]}
    config = by if statistics == "by channel" else {"shift_factor": 0.1159}
    vae = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=channels, scaling_factor=0.7, **config
    ).eval()
    x = torch.randn(2, channels, 8, 8)
    with torch.no_grad():
        if statistics == "by channel":
            mean, std = (torch.tensor(by[name]).view(1, channels, 1, 1) for name in BY_CHANNEL)
            z = x * std / vae.config.scaling_factor + mean
        else:
            z = (x / vae.config.scaling_factor) + vae.config.shift_factor
        (image,) = Decoder(vae)(x)
        torch.testing.assert_close(image, vae.decode(z).sample, rtol=0, atol=0)
        (back,) = Encoder(vae)(image)
        mode = vae.encode(image).latent_dist.mode()
    torch.testing.assert_close(to_vae(back, vae.config), mode, rtol=1e-5, atol=1e-5)  # of values of about 10


@pytest.mark.parametrize(
    ("config", "known", "message"),
    [
        (BY, (), "has latents_mean, which the pipeline of this family leaves out: set it to null"),
        (SHIFTED, BY_CHANNEL, "has shift_factor, which the pipeline of this family leaves out: set it to null"),
        (BY, SHIFT, "has latents_mean, which the pipeline of this family leaves out: set it to null"),
        ({"latents_mean": MEAN}, BY_CHANNEL, "has latents_mean alone, which a pipeline leaves out without the other"),
        ({"latents_std": STD}, BY_CHANNEL, "has latents_std alone, which a pipeline leaves out without the other"),
        (BY | {"latents_mean": MEAN[:3]}, BY_CHANNEL, "has latents_mean of another form than 4 numbers, one a channel"),
        (BY | {"latents_mean": 0.5}, BY_CHANNEL, "has latents_mean of another form than 4 numbers, one a channel"),
        (BY | {"latents_std": [0.0] * 4}, BY_CHANNEL, "has latents_std that is not 4 positive numbers, one a channel"),
        (BY | {"latents_mean": [float("nan")] * 4}, BY_CHANNEL, "has latents_mean that is not 4 numbers, one a chan"),
        (BY | {"latents_mean": ["x"] * 4}, BY_CHANNEL, "has latents_mean that is not 4 numbers, one a channel"),
        ({"shift_factor": [0.1]}, SHIFT, "has shift_factor of another form than one number"),
        ({"shift_factor": True}, SHIFT, "has shift_factor that is not one number"),
    ],
)
def test_a_statistic_that_would_mean_something_else_is_refused(
    config: dict[str, object], known: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ExportError, match=f"^vae/config.json {message}"):
        check_statistics(FILE, config, known)


def test_statistics_that_are_null_say_nothing() -> None:
    check_statistics(FILE, dict.fromkeys((*BY_CHANNEL, *SHIFT)), ())
    check_statistics(FILE, {"shift_factor": 0.0}, ())
