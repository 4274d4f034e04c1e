"""Text encoders whose last layers are left out encode prompts, and no prompt, as diffusers' own pipelines do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.clip_skip import with_clip_skip
from memscan.export.graphs.storage import save_graph
from memscan.export.graphs.trace import trace_component
from memscan.export.parity.oracle import component_case
from memscan.export.parity.parity import compare
from memscan.scanner.bundle import open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import edit

PROMPTS = ["a photo of a cat", "red! blue!", ""]
LIMIT = 1e-6
"""Absolute, of values about 1: the same layers of the same library."""


@pytest.fixture(autouse=True)
def nested(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers looks for the last norm where transformers had it before it took a level of names away."""
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    if not hasattr(CLIPTextModel(CLIPTextConfig(vocab_size=8, **small)), "text_model"):
        monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda model: model), raising=False)


def encoded(pipeline_class: Any, folder: Path, layers: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What the checkpoint's encoder gives for `PROMPTS`, and what diffusers' encode_prompt does."""
    checkpoint = with_clip_skip(find_checkpoint(str(folder)), layers)
    pipeline = pipeline_class.from_pretrained(folder)
    models = [checkpoint.load(part) for part in checkpoint.text_encoders]
    encoder = checkpoint.family.join(*models, clip_skip=checkpoint.clip_skip)
    ids = [
        checkpoint.tokenizer(part)(PROMPTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
        for part in checkpoint.family.tokenizers
    ]
    with torch.no_grad():
        found = dict(zip(encoder.outputs, encoder(*ids), strict=True))
        states, none, *pooled = pipeline.encode_prompt(
            PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, clip_skip=layers
        )
    uncond = found.pop("uncond_encoder_hidden_states")[2:].expand_as(none)
    return [found.pop("encoder_hidden_states"), uncond, *found.values()], [states, none, *pooled[:1]]


@pytest.mark.parametrize("layers", [1, 2])
def test_prompts_and_no_prompt_of_stable_diffusion_are_encoded_as_in_diffusers(
    tiny_pipeline: Path, layers: int
) -> None:
    """The tiny encoder has two layers: leaving out both leaves the embeddings."""
    found, expected = encoded(StableDiffusionPipeline, tiny_pipeline, layers)
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=LIMIT, rtol=0)
    assert not torch.allclose(found[0][2], found[1][2], atol=1e-2)  # the empty prompt as a prompt, and as none


def test_prompts_of_xl_are_encoded_as_in_diffusers(xl_copy: Path) -> None:
    """Where no prompt is not zeros, its states are those of no skip."""
    edit(xl_copy / "model_index.json", force_zeros_for_empty_prompt=False)
    found, expected = encoded(StableDiffusionXLPipeline, xl_copy, 1)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=LIMIT, rtol=0)


@pytest.mark.parametrize(("pipeline", "most"), [("tiny_pipeline", 2), ("tiny_xl_pipeline", 1)])
def test_more_layers_than_there_are_is_an_error(pipeline: str, most: int, request: pytest.FixtureRequest) -> None:
    checkpoint = find_checkpoint(str(request.getfixturevalue(pipeline)))
    assert with_clip_skip(checkpoint, most).clip_skip == most
    with pytest.raises(
        ExportError, match=rf"text_encoder has layers for a clip skip of {most} at most, not {most + 1}$"
    ):
        with_clip_skip(checkpoint, most + 1)


def test_a_clip_skip_is_part_of_the_digest(tiny_pipeline: Path) -> None:
    plain = find_checkpoint(str(tiny_pipeline))
    digests = {with_clip_skip(plain, layers).digest for layers in (0, 1, 2)}
    assert len(digests) == 3
    assert with_clip_skip(plain, 0) is plain


def test_the_graph_equals_the_encoder(tiny_pipeline: Path, tmp_path: Path) -> None:
    checkpoint = with_clip_skip(find_checkpoint(str(tiny_pipeline)), 1)
    encoder = checkpoint.family.join(checkpoint.load("text_encoder"), clip_skip=1)
    example = {"input_ids": torch.randint(0, 500, (2, 20), generator=torch.Generator().manual_seed(0))}
    save_graph(trace_component(encoder, example), tmp_path / "text_encoder.onnx", "float32")
    rows = compare(tmp_path / "text_encoder.onnx", component_case(encoder, example), 1e-5)
    assert [row.output for row in rows] == ["encoder_hidden_states", "uncond_encoder_hidden_states"]
    assert all(row.passed for row in rows)


@pytest.mark.slow
def test_an_export_draws_the_image_that_diffusers_draws(
    tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompt, no prompt and the baseline's own text encoder; the record and `inspect` say so."""
    out = tmp_path / "out"
    options = "--tangents", "1", "--no-certify", "--clip-skip", "1", "--baseline", str(tiny_baseline)
    assert invoke(["export", str(tiny_pipeline), str(out), *options]) == 0
    proof = [line for line in capsys.readouterr().out.splitlines() if line.startswith("StableDiffusionPipeline")]
    assert [line.split()[1] for line in proof] == ["latents", "image"]
    assert all(line.endswith("ok") for line in proof)
    bundle = open_bundle(out)
    assert bundle.text.clip_skip == 1
    assert bundle.baseline_has_text_encoder
    for graph in ("text_encoder.onnx", "baseline/text_encoder.onnx"):
        assert b"uncond_encoder_hidden_states" in (out / graph).read_bytes()
    assert invoke(["inspect", str(out)]) == 0
    assert "; no prompt is ''; clip skip 1" in capsys.readouterr().out
    assert bundle.model_digest != find_checkpoint(str(tiny_pipeline)).digest
