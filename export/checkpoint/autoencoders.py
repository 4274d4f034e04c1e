"""The classes of image autoencoders that a checkpoint may have as its `vae`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffusers import AsymmetricAutoencoderKL, AutoencoderKL, AutoencoderTiny

from memscan.export.checkpoint.configuration.keys import Keys
from memscan.export.checkpoint.configuration.other_vaes import ASYMMETRIC_VAE, TINY_VAE
from memscan.export.checkpoint.configuration.vae import VAE
from memscan.scanner.errors import ExportError


class Autoencoder(NamedTuple):
    """A class, the keys of its configuration, and which of them has the widths of its encoder, and of its decoder."""

    cls: type
    keys: Keys
    encoder: str = "block_out_channels"
    decoder: str = "block_out_channels"


AUTOENCODERS = {
    "AutoencoderKL": Autoencoder(AutoencoderKL, VAE),
    "AutoencoderTiny": Autoencoder(
        AutoencoderTiny, TINY_VAE, "encoder_block_out_channels", "decoder_block_out_channels"
    ),
    "AsymmetricAutoencoderKL": Autoencoder(
        AsymmetricAutoencoderKL, ASYMMETRIC_VAE, "down_block_out_channels", "up_block_out_channels"
    ),
}


def autoencoder(config: Mapping[str, Any]) -> Autoencoder:
    """The class of a checked configuration."""
    return AUTOENCODERS[config.get("_class_name", "AutoencoderKL")]


def with_widths(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the `block_out_channels` that its class writes into it when it is built."""
    kind = autoencoder(config)
    return {**config, "block_out_channels": config.get(kind.decoder, kind.keys.understood[kind.decoder])}


def require_one_scale(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that the encoder makes an image as much smaller as the decoder makes latents larger.

    Raises:
        ExportError: it does not, or the widths are no list.
    """
    kind = autoencoder(config)
    down, up = (config.get(key, kind.keys.understood[key]) for key in (kind.encoder, kind.decoder))
    for key, widths in ((kind.encoder, down), (kind.decoder, up)):
        if not isinstance(widths, (list, tuple)):
            raise ExportError(f"{folder / 'config.json'} has {key} {widths!r}: it must be a list of widths")
    if len(down) != len(up):
        raise ExportError(
            f"{folder} has {len(down)} blocks in its encoder and {len(up)} in its decoder: the image would have another"
            " size than the one that was encoded"
        )
