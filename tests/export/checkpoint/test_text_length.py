"""Text encoders of more than 77 positions are exported at their own length; a tokenizer of another is told."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.tokenization import write_tokenizers
from memscan.scanner.errors import ExportError
from memscan.scanner.model.text import Tokenizer, Tokens
from tests.analytic_bundle import write_analytic_bundle
from tests.export.checkpoint.spoil import drop, edit

LONG = 248
PROMPTS = ["a cat", "the red house of a dog " * 15, "a cat " * 200]
"""Of a few tokens, of more than 77, and of more than fit."""


def lengthen(pipeline: Path, positions: int, tokens: int) -> None:
    """Give the pipeline a random text encoder of so many positions, and a tokenizer of so many tokens."""
    config = CLIPTextConfig.from_pretrained(pipeline / "text_encoder", max_position_embeddings=positions)
    torch.manual_seed(0)
    CLIPTextModel(config).save_pretrained(pipeline / "text_encoder")
    edit(pipeline / "tokenizer" / "tokenizer_config.json", model_max_length=tokens)


@pytest.mark.parametrize("tokens", [LONG, 77])
def test_prompts_have_the_length_that_a_pipeline_gives_them(copy: Path, tmp_path: Path, tokens: int) -> None:
    lengthen(copy, LONG, tokens)
    pipeline = StableDiffusionPipeline.from_pretrained(copy)
    checkpoint = find_checkpoint(str(copy))
    text = write_tokenizers(checkpoint, tmp_path)
    assert text.tokenizers[0].max_length == tokens
    bundle = dataclasses.replace(write_analytic_bundle(tmp_path / "analytic"), path=tmp_path, text=text)
    found = [each for each in Tokenizer(bundle).each(PROMPTS) if isinstance(each, Tokens)]
    assert [each.truncated for each in found] == [False, tokens == 77, True]
    ids = torch.tensor([each.ids[0].tolist() for each in found])
    expected = pipeline.tokenizer(PROMPTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ids, expected)
    encoder = checkpoint.family.join(checkpoint.load("text_encoder"), clip_skip=0)
    with torch.no_grad():
        states, _ = pipeline.encode_prompt(PROMPTS, "cpu", 1, False)
        (own,) = encoder(ids)
    assert own.shape == (3, tokens, 32)
    torch.testing.assert_close(own, states, atol=1e-6, rtol=0)
    cut = "copy: tokenizer: prompts are cut at 77 tokens, as a pipeline does, though the text encoder has 248 positions"
    assert checkpoint.remarks == ((cut,) if tokens == 77 else ())


def test_a_tokenizer_that_says_no_length_has_its_encoders(copy: Path, tmp_path: Path) -> None:
    lengthen(copy, LONG, LONG)
    drop(copy / "tokenizer" / "tokenizer_config.json", "model_max_length")
    assert write_tokenizers(find_checkpoint(str(copy)), tmp_path).tokenizers[0].max_length == LONG


def test_a_tokenizer_that_is_longer_than_its_encoder_is_refused(copy: Path) -> None:
    edit(copy / "tokenizer" / "tokenizer_config.json", model_max_length=77)
    with pytest.raises(
        ExportError, match=r"brings prompts to 77 tokens, but its text encoder has 20 positions: set mo"
    ):
        find_checkpoint(str(copy))
