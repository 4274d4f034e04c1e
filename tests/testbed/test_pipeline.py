"""The shipped pipeline loads as diffusers saved it, and through diffusers alone it reproduces what it memorized."""

from functools import cache

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from testbed.captions import CAPTIONS, SEEDS, Caption, of_kind
from testbed.dataset import masks, template
from testbed.scenes import scene
from testbed.tables import HOME
from testbed.text import build_tokenizer

CHOSEN = [of_kind("global")[1], of_kind("global")[4], of_kind("local")[1], of_kind("local")[4]]


@cache
def pipeline(folder: str) -> StableDiffusionPipeline:
    loaded = StableDiffusionPipeline.from_pretrained(HOME / folder, torch_dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@cache
def generated(caption: Caption) -> NDArray[np.float64]:
    generator = torch.Generator().manual_seed(SEEDS[0])
    output = pipeline("pipeline")(
        caption.prompt, num_inference_steps=20, guidance_scale=2.5, generator=generator, output_type="np"
    )
    return output.images[0]


@pytest.mark.parametrize("folder", ["pipeline", "baseline"])
def test_folder_loads_with_the_recipes_parts(folder: str) -> None:
    loaded = pipeline(folder)
    prompts = [caption.prompt for caption in CAPTIONS]
    assert loaded.tokenizer(prompts).input_ids == build_tokenizer()(prompts).input_ids
    assert sum(p.numel() for p in loaded.unet.parameters()) < 2.8e6
    assert loaded.safety_checker is None
    assert loaded.scheduler.config.prediction_type == "epsilon"


@pytest.mark.parametrize("caption", CHOSEN, ids=lambda c: f"{c.kind}-{c.subject}")
def test_memorized_region_is_reproduced(caption: Caption) -> None:
    region = masks(caption).memorized
    distances = {other: _distance(generated(caption), _original(other), region) for other in CHOSEN}
    own = distances.pop(caption)
    # The autoencoder alone costs about 0.1; the pictures of other captions are 0.3 and more away.
    assert own < 0.5 * min(distances.values())


def _original(caption: Caption) -> NDArray[np.float32]:
    if caption.kind == "global":
        return template(caption)
    return scene(caption.subject).render(template(caption), template(caption))


def _distance(image: NDArray[np.floating], original: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    return float(np.sqrt(((image - original)[region] ** 2).mean()))
