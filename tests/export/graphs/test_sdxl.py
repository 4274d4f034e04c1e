"""Stable Diffusion XL: two text encoders as its pipeline runs them, and graphs that take their pooled embedding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.bundle import open_bundle
from memscan.scanner.errors import ExportError
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.tiny_pipeline import POOLED

PROMPTS = ["a photo of a cat", "red! blue!", ""]
LIMIT = 1e-5
"""Absolute, of values about 1: two layers in float32."""


@pytest.fixture(scope="module")
def pipeline(tiny_xl_pipeline: Path) -> StableDiffusionXLPipeline:
    loaded = StableDiffusionXLPipeline.from_pretrained(tiny_xl_pipeline, add_watermarker=False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def encode(bundle: Path, pipeline: StableDiffusionXLPipeline, prompts: list[str]) -> dict[str, np.ndarray]:
    """The bundle's text encoder on the ids of the pipeline's own tokenizers."""
    tokenizers = {"input_ids": pipeline.tokenizer, "input_ids_2": pipeline.tokenizer_2}
    feed = {
        name: tokenizer(prompts, padding="max_length", truncation=True, return_tensors="np").input_ids.astype(np.int64)
        for name, tokenizer in tokenizers.items()
    }
    session = onnxruntime.InferenceSession(bundle / "text_encoder.onnx", providers=["CPUExecutionProvider"])
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, feed), strict=True))


def test_encodings_equal_the_pipelines(tiny_xl_bundle: Path, pipeline: StableDiffusionXLPipeline) -> None:
    """Hidden states of both encoders before their last layer; the pooled state of the second. "!" is its padding."""
    with torch.no_grad():
        states, _, pooled, _ = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    found = encode(tiny_xl_bundle, pipeline, PROMPTS)
    np.testing.assert_allclose(found["encoder_hidden_states"], states.numpy(), atol=LIMIT)
    np.testing.assert_allclose(found["text_embeds"], pooled.numpy(), atol=LIMIT)


def test_no_negative_prompt_is_zeros_as_in_the_pipeline(
    tiny_xl_bundle: Path, pipeline: StableDiffusionXLPipeline
) -> None:
    with torch.no_grad():
        _, states, _, pooled = pipeline.encode_prompt(PROMPTS)
    text = open_bundle(tiny_xl_bundle).text
    assert text.zero_uncond
    assert not states.any() and not pooled.any()


def test_the_bundle_has_both_tokenizers(tiny_xl_bundle: Path, pipeline: StableDiffusionXLPipeline) -> None:
    bundle = open_bundle(tiny_xl_bundle)
    assert {"tokenizer.json", "tokenizer_2.json"} <= set(bundle.files)
    first, second = bundle.text.tokenizers
    assert (first.file, first.pad_token_id) == ("tokenizer.json", pipeline.tokenizer.pad_token_id)
    assert (second.file, second.pad_token_id) == ("tokenizer_2.json", 0)
    assert pipeline.tokenizer_2.pad_token_id == 0


def test_the_denoisers_graphs_take_the_pooled_embedding(tiny_xl_bundle: Path) -> None:
    def inputs(name: str) -> dict[str, list[int | str]]:
        session = onnxruntime.InferenceSession(tiny_xl_bundle / name, providers=["CPUExecutionProvider"])
        return {value.name: value.shape for value in session.get_inputs()}

    measure, step = inputs("measure.onnx"), inputs("step.onnx")
    assert list(measure) == ["sample", "timestep", "alpha", "sigma", "encoder_hidden_states", "text_embeds", "tangents"]
    assert measure["text_embeds"] == step["text_embeds"] == step["uncond_text_embeds"] == ["N", POOLED]
    assert step["encoder_hidden_states"] == step["uncond_encoder_hidden_states"] == ["N", 20, 32 + 16]


def test_the_denoiser_is_told_the_size_of_the_image(tiny_xl_bundle: Path, pipeline: StableDiffusionXLPipeline) -> None:
    """eps equals the pipeline's denoiser on its own time ids, for a batch of 3."""
    rng = np.random.default_rng(0)
    feed = {
        "sample": rng.standard_normal((3, 4, 8, 8)),
        "timestep": np.array([1, 501, 981]),
        "alpha": np.ones(3),
        "sigma": np.ones(3),
        "encoder_hidden_states": rng.standard_normal((3, 20, 48)),
        "text_embeds": rng.standard_normal((3, POOLED)),
        "tangents": np.zeros((4, 3, 4, 8, 8)),
    }
    feed = {name: value.astype(np.float32) for name, value in feed.items()}
    session = onnxruntime.InferenceSession(tiny_xl_bundle / "measure.onnx", providers=["CPUExecutionProvider"])
    (eps,) = session.run(["eps"], feed)
    width = pipeline.text_encoder_2.config.projection_dim
    time_ids = pipeline._get_add_time_ids((32, 32), (0, 0), (32, 32), torch.float32, text_encoder_projection_dim=width)
    sample, timestep, _, _, states, embeds, _ = (torch.from_numpy(value) for value in feed.values())
    with torch.no_grad():
        added = {"text_embeds": embeds, "time_ids": time_ids.expand(3, -1)}
        expected = pipeline.unet(sample, timestep, states, added_cond_kwargs=added).sample
    np.testing.assert_allclose(eps, expected.numpy(), atol=LIMIT)


def test_a_baseline_of_another_family_is_refused(tiny_xl_pipeline: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    model, baseline = (find_checkpoint(str(path)) for path in (tiny_pipeline, tiny_xl_pipeline))
    with pytest.raises(ExportError, match="tiny-sdxl is of another family, Stable Diffusion XL base, than"):
        export_bundle(
            model, tmp_path / "out", baseline=baseline, options=ExportOptions(certify=()), report=lambda line: None
        )
    assert list(tmp_path.iterdir()) == []
