"""Attention at full resolution begins as nothing: the grown UNet is the same function, and can learn."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from testbed.denoiser import new_unet
from testbed.graded.denoiser import GROWN, HEADS, grow_attention


@pytest.fixture(scope="module")
def pair() -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    torch.manual_seed(0)
    unet = new_unet()
    return unet, grow_attention(unet)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 4, 16, 16, generator=generator),
        torch.tensor([1, 700]),
        torch.randn(2, 16, 64, generator=generator),
    )


def test_the_function_is_preserved_exactly(pair: tuple[UNet2DConditionModel, UNet2DConditionModel]) -> None:
    unet, grown = pair
    with torch.no_grad():
        assert grown(*inputs()).sample.equal(unet(*inputs()).sample)


def test_every_resolution_has_attention(pair: tuple[UNet2DConditionModel, UNet2DConditionModel]) -> None:
    unet, grown = pair
    assert all(hasattr(block, "attentions") for block in (*grown.down_blocks, *grown.up_blocks))
    new = set(grown.state_dict()) - set(unet.state_dict())
    assert new
    assert all(name.startswith(GROWN) for name in new)
    full = grown.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    assert (full.heads, full.to_q.in_features) == (HEADS[0], 48)


def test_what_is_new_learns_from_the_first_step(pair: tuple[UNet2DConditionModel, UNet2DConditionModel]) -> None:
    _, grown = pair
    grown.zero_grad()
    grown(*inputs()).sample.square().mean().backward()
    outputs = [p for name, p in grown.named_parameters() if name.startswith(GROWN) and ".proj_out." in name]
    assert len(outputs) == 6  # weight and bias, of one block on the way down and two on the way up
    assert all(p.grad.abs().max() > 0 for p in outputs)
    assert not any(p.any() for p in outputs)


def test_new_weights_follow_the_global_seed() -> None:
    unet = new_unet()

    def grown(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in grow_attention(unet).parameters()])

    assert grown(0).equal(grown(0))
    assert not grown(0).equal(grown(1))


def test_another_unet_is_refused() -> None:
    with pytest.raises(ValueError, match="not a UNet of the testbed"):
        grow_attention(grow_attention(new_unet()))
