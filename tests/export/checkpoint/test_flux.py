"""FLUX.1 checkpoints: recognised, checked and encoded as its pipeline does."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from memscan.export.assemble import PAPER_DEFAULTS
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.clip_skip import with_clip_skip
from memscan.export.checkpoint.packed_flux import PackedFlux
from memscan.export.checkpoint.takes import takes_of
from memscan.export.checkpoint.tokenization import write_tokenizers
from memscan.export.checkpoint.usual_defaults import is_usually_unguided, usual_defaults
from memscan.scanner.bundle_parts import Takes
from memscan.scanner.errors import ExportError
from memscan.scanner.model.padding import padding_of
from memscan.scanner.model.text import Tokens
from tests.export.checkpoint.spoil import edit
from tests.tiny_transformers import JOINT

PROMPTS = ["a photo of a cat", "red! blue!", ""]
T5_TOKENS = 512


def test_it_is_recognised_and_what_stands_in_is_said(tiny_flux_pipeline: Path) -> None:
    found = find_checkpoint(str(tiny_flux_pipeline))
    assert found.family.title == "FLUX.1"
    assert found.prediction_type() == "flow_prediction"
    assert found.latent_shape() == (16, 128, 128)
    assert found.at_size(32, 32).latent_shape() == (16, 8, 8)
    assert found.text_width() == JOINT
    size, guidance = found.remarks
    assert size == "tiny-flux: transformer: no sample_size, so latents are 128 x 128 as FLUX.1 has them"
    assert guidance == (
        "tiny-flux: FLUX.1 has no unconditional branch: where no prompt is asked for, the empty prompt at the same"
        " guidance stands in"
    )


def test_encodings_equal_the_pipelines(tiny_flux_pipeline: Path) -> None:
    checkpoint = find_checkpoint(str(tiny_flux_pipeline))
    pipeline = FluxPipeline.from_pretrained(tiny_flux_pipeline)
    encoder = checkpoint.family.join(*(checkpoint.load(part) for part in checkpoint.text_encoders))
    ids = [
        tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        for tokenizer, length in ((pipeline.tokenizer, 20), (pipeline.tokenizer_2, T5_TOKENS))
    ]
    with torch.no_grad():
        found, found_pooled = encoder(*ids)
        states, _, _ = pipeline.encode_prompt(PROMPTS, None)
        pooled = pipeline.text_encoder(ids[0]).pooler_output
    torch.testing.assert_close(found, states, rtol=0, atol=1e-6)
    torch.testing.assert_close(found_pooled, pooled, rtol=0, atol=1e-6)


def test_clips_tokens_have_no_positions(tiny_flux_pipeline: Path, tmp_path: Path) -> None:
    text = write_tokenizers(find_checkpoint(str(tiny_flux_pipeline)), tmp_path)
    assert [rule.position for rule in text.tokenizers] == [None, 0]
    assert [rule.max_length for rule in text.tokenizers] == [20, T5_TOKENS]
    assert text.length == T5_TOKENS
    ids = [np.full(rule.max_length, rule.eos_token_id) for rule in text.tokenizers]
    ids[0][:9], ids[1][:3] = 40, 40
    padding = padding_of(Tokens(tuple(ids), truncated=False), text)
    assert np.flatnonzero(~padding).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_the_scanner_tells_it_a_guidance_where_it_takes_one(
    guided: bool, tiny_flux_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_flux_pipeline, tmp_path / "copy")
    edit(copy / "transformer/config.json", guidance_embeds=guided)
    transformer = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(copy / "transformer"))
    transformer.save_pretrained(copy / "transformer")
    checkpoint = find_checkpoint(str(copy))
    assert takes_of(checkpoint) == Takes(guidance=guided)
    defaults = usual_defaults(checkpoint, PAPER_DEFAULTS)
    assert defaults.guidance_scale == (3.5 if guided else 1.0)
    assert is_usually_unguided(checkpoint, defaults)
    assert is_usually_unguided(checkpoint, PAPER_DEFAULTS) == guided  # schnell could be guided
    denoiser = checkpoint.family.build(checkpoint.load("transformer"), (16, 8, 8), (T5_TOKENS, JOINT))
    assert isinstance(denoiser.network, PackedFlux)
    assert ("guidance" in denoiser.input_shapes(1, (16, 8, 8), (T5_TOKENS, JOINT))) == guided


def test_there_is_no_state_of_clip_to_skip(tiny_flux_pipeline: Path) -> None:
    with pytest.raises(ExportError, match=r"memscan knows no clip skip of FLUX\.1: leave out --clip-skip"):
        with_clip_skip(find_checkpoint(str(tiny_flux_pipeline)), 1)


def test_an_image_that_makes_no_whole_tokens_is_refused(tiny_flux_pipeline: Path) -> None:
    with pytest.raises(ExportError, match=r"--height 36: it must be a multiple of 8, 4 pixels to a cell of latents"):
        find_checkpoint(str(tiny_flux_pipeline)).at_size(36, 32)


def test_pooled_text_of_another_width_is_refused(tiny_flux_pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_flux_pipeline, tmp_path / "copy")
    edit(copy / "transformer/config.json", pooled_projection_dim=40)
    with pytest.raises(ExportError, match="takes pooled text of width 40, but the text encoders give 32"):
        find_checkpoint(str(copy))
