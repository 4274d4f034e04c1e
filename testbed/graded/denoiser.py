"""The testbed's UNet with attention at full latent resolution, as Stable Diffusion has it.

Grown from a trained UNet that lacks it: what is new adds zero at first, so that the function is the same.
"""

import torch
from diffusers import UNet2DConditionModel

HEADS = (2, 4, 4)  # from the full resolution down; the testbed has 4 everywhere
GROWN = ("down_blocks.0.attentions.", "up_blocks.2.attentions.")
OUTPUT = ".proj_out."


def grow_attention(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet with transformer blocks at full resolution too, whose output projections are zero.

    Args:
        unet: one of testbed.denoiser.new_unet; left as it is.

    Returns:
        A UNet that gives exactly the values of `unet`; its other new weights are drawn from torch's global generator.

    Raises:
        ValueError: `unet` has other weights than the grown one without its new blocks, or has these already.
    """
    config = dict(unet.config) | {
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": HEADS,
    }
    grown = UNet2DConditionModel.from_config(config)
    new = {name for name in grown.state_dict() if name.startswith(GROWN)}
    missing, unexpected = grown.load_state_dict(unet.state_dict(), strict=False)
    strange = sorted(new.symmetric_difference(missing)) + unexpected
    if strange:
        raise ValueError(f"not a UNet of the testbed: it differs in {', '.join(strange[:3])}")
    with torch.no_grad():
        for name, weight in grown.named_parameters():
            if name.startswith(GROWN) and OUTPUT in name:
                weight.zero_()
    return grown
