"""The original names of transformers give what diffusers' own conversions give, at the widths that these know."""

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders import single_file_utils

from memscan.export.checkpoint.original_transformers import original_rows
from tests.export.checkpoint.original_transformer import CLASSES

CONVERSIONS = {
    "sd3": single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers,
    "flux": single_file_utils.convert_flux_transformer_checkpoint_to_diffusers,
}


def published(family: str, guided: bool) -> torch.nn.Module:
    """Blocks as wide as published, fewer of them; without values."""
    with torch.device("meta"):
        if family == "flux":
            return FluxTransformer2DModel(num_layers=2, num_single_layers=3, guidance_embeds=guided)
        return SD3Transformer2DModel(
            num_layers=3,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=8,
            qk_norm="rms_norm" if guided else None,
            dual_attention_layers=(0, 1) if guided else (),
        )


@pytest.mark.parametrize("guided", [True, False], ids=["with-all", "with-least"])
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_every_tensor_is_what_diffusers_makes_of_it(family: str, guided: bool) -> None:
    """Of one column each, for rows alone are put apart."""
    shapes = {name: (*tensor.shape[:1], 1) for name, tensor in published(family, guided).state_dict().items()}
    rows = original_rows(CLASSES[family], shapes)
    generator = torch.Generator().manual_seed(0)
    counts: dict[str, int] = {}
    for name, each in rows.items():
        counts[each.name] = counts.get(each.name, 0) + shapes[name][0]
    original = {name: torch.randn(count, 1, generator=generator) for name, count in counts.items()}
    left = dict(original)
    converted = CONVERSIONS[family](left)
    assert not left
    assert converted.keys() == rows.keys()
    for name, tensor in converted.items():
        assert torch.equal(rows[name].of(original[rows[name].name]), tensor), name
