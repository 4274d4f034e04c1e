"""A whole scan of an exported pipeline against diffusers and torch: the same images, the same maps by autograd."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionXLPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.model.graphs import Graphs, open_graphs
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime
from memscan.scanner.samples import Sample
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution, Measurement, Probes, Step
from tests.default_maps import MAPS
from tests.scanner.scanning.closed_form import at_steps, on_bundle
from tests.scanner.scanning.one_by_one import Image, scan_one_by_one
from tests.tiny_pipeline import save_pipeline

SETTINGS = Measurement(
    num_inference_steps=20,
    guidance_scale=7.5,
    steps=(Step(12, 0.5, False), Step(19, 0.5, False)),
    probes=Probes("rademacher", 6),
    metrics=MAPS,
    mask_map="dh_uncond",
    score_name="dh_uncond_mean",
    save_images=True,
)
SAMPLES = [
    Sample(0, 5, "a photo of a cat"),
    Sample(1, 2**33 + 1, "the red house, with a blue dog and with more text than fits"),
    Sample(2, 0, ""),
]
TRAJECTORY = 1e-5
"""Of the largest latent; random weights at guidance 7.5 reach 40, where float32 sums differ by 1e-6 of it."""


def silent(line: str) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def tiny_v_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(
        tmp_path_factory.mktemp("pipelines") / "tiny-sd2", family="sd2", prediction_type="v_prediction", pad_with="!"
    )


@pytest.fixture(scope="module")
def tiny_v_bundle(tiny_v_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny-sd2.bundle"
    with quiet_libraries():
        export_bundle(
            find_checkpoint(str(tiny_v_pipeline)), out, options=ExportOptions(tangents=4, certify=()), report=silent
        )
    return out


def load(pipeline: Path) -> DiffusionPipeline:
    loaded = DiffusionPipeline.from_pretrained(pipeline)
    loaded.scheduler = DDIMScheduler.from_config(loaded.scheduler.config, clip_sample=False)
    loaded.unet.set_attn_processor(AttnProcessor())  # the fused one has no forward derivative
    loaded.set_progress_bar_config(disable=True)
    return loaded


def diffusers_run(pipeline: DiffusionPipeline) -> tuple[list[Tensor], np.ndarray]:
    """The latents before each step and at the end, and the images as floats in [0, 1]."""
    states: list[Tensor] = []

    def keep(pipe: Any, step: int, timestep: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        states.append(tensors["latents"])
        return tensors

    images = pipeline(
        [sample.prompt for sample in SAMPLES],
        num_inference_steps=SETTINGS.num_inference_steps,
        guidance_scale=SETTINGS.guidance_scale,
        generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in SAMPLES],
        callback_on_step_end=keep,
        output_type="np",
    ).images
    start = [torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(s.seed)) for s in SAMPLES]
    return [torch.cat(start), *states], images


def conditioning(pipeline: DiffusionPipeline, prompts: list[str] | None, count: int) -> dict[str, Any]:
    """What the denoiser takes for `count` prompts, or for none."""
    with torch.no_grad():
        if not isinstance(pipeline, StableDiffusionXLPipeline):
            ids = pipeline.tokenizer(
                prompts or [""] * count, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            return {"encoder_hidden_states": pipeline.text_encoder(ids)[0]}
        states, no_states, pooled, no_pooled = pipeline.encode_prompt(prompts or [""] * count)
    sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]]).expand(count, -1)
    return {
        "encoder_hidden_states": states if prompts else no_states,
        "added_cond_kwargs": {"text_embeds": pooled if prompts else no_pooled, "time_ids": sizes},
    }


def respond(pipeline: DiffusionPipeline, x: Tensor, timestep: int, prompts: list[str] | None) -> tuple[Tensor, Tensor]:
    """eps and the mean over the probes of v * (J v), one forward-mode product per probe; v-prediction is converted."""
    text = conditioning(pipeline, prompts, len(x))
    alpha_cumprod = pipeline.scheduler.alphas_cumprod[timestep]
    alpha, sigma = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5

    def eps(x: Tensor) -> Tensor:
        output = pipeline.unet(x, timestep, **text).sample
        return alpha * output + sigma * x if pipeline.scheduler.config.prediction_type == "v_prediction" else output

    products = []
    for probe in torch.from_numpy(make_probes(SETTINGS.probes, (4, 8, 8))):
        v = probe.expand_as(x).contiguous()
        value, jv = torch.func.jvp(eps, (x,), (v,))
        products.append(v * jv)
    return value.detach(), torch.stack(products).mean(0).detach()


def scan_all(bundle: Bundle, settings: Measurement = SETTINGS) -> tuple[list[Image], np.ndarray]:
    """The results, and the final latents that were decoded."""
    decoded: list[np.ndarray] = []

    class Recording(Graphs):
        def decode(self, latents: Any) -> Any:
            decoded.append(self.download(latents))
            return super().decode(latents)

    engine = Recording(bundle, OnnxRuntime(bundle, Execution(threads=1, provider="cpu")))
    settings = on_bundle(settings, bundle)
    results = scan_one_by_one(Scanner(bundle, engine, settings, BatchCeiling(2, pytest.fail)), SAMPLES)
    return [result for result in results if isinstance(result, Image)], np.concatenate(decoded)


def assert_scan_equals_diffusers(
    bundle: Bundle, pipeline: DiffusionPipeline, baseline: DiffusionPipeline | None = None
) -> None:
    states, images = diffusers_run(pipeline)
    results, latents = scan_all(bundle)
    assert len(results) == len(SAMPLES)
    scale = states[-1].abs().max().item()
    np.testing.assert_allclose(latents, states[-1].numpy(), rtol=0, atol=TRAJECTORY * scale)
    for result, image in zip(results, images, strict=True):
        assert result.image is not None
        assert abs(result.image / 255 - image).max() < 0.51 / 255 + 1e-4  # rounding to 8 bits, and the trajectory
    assert [result.truncated for result in results] == [False, True, False]

    prompts = [sample.prompt for sample in SAMPLES]
    timesteps = pipeline.scheduler.timesteps.tolist()
    for position, step in enumerate(SETTINGS.steps):
        index = step.index
        x, timestep = states[index], timesteps[index]
        sigma = (1 - pipeline.scheduler.alphas_cumprod[timestep].item()) ** 0.5
        eps_c, diagonal_c = respond(pipeline, x, timestep, prompts)
        eps_0, diagonal_0 = respond(pipeline, x, timestep, None)
        expected = {
            "dh_uncond": sigma * (diagonal_c - diagonal_0).mean(1),
            "ds_uncond": ((eps_c - eps_0) ** 2).mean(1),
            "h_cond": sigma * diagonal_c.mean(1),
        }
        if baseline is not None:
            eps_b, diagonal_b = respond(baseline, x, timestep, prompts)
            expected |= {
                "dh_base": sigma * (diagonal_c - diagonal_b).mean(1),
                "ds_base": ((eps_c - eps_b) ** 2).mean(1),
            }
        for i, result in enumerate(results):
            assert set(result.steps[position].maps) == set(expected)
            for name, values in expected.items():
                np.testing.assert_allclose(
                    result.steps[position].maps[name],
                    values[i].numpy(),
                    rtol=0,
                    atol=2e-5 * max(values.abs().max().item(), 1e-2),
                    err_msg=f"{name}, step {index}, {SAMPLES[i].prompt!r}",
                )


def test_a_scan_equals_diffusers_and_autograd(tiny_bundle: Path, tiny_pipeline: Path, tiny_baseline: Path) -> None:
    assert_scan_equals_diffusers(open_bundle(tiny_bundle), load(tiny_pipeline), load(tiny_baseline))


@pytest.mark.slow
def test_a_scan_of_a_v_prediction_model_equals_diffusers_and_autograd(
    tiny_v_bundle: Path, tiny_v_pipeline: Path
) -> None:
    assert_scan_equals_diffusers(open_bundle(tiny_v_bundle), load(tiny_v_pipeline))


def test_a_scan_of_sdxl_equals_diffusers_and_autograd(tiny_xl_bundle: Path, tiny_xl_pipeline: Path) -> None:
    """No prompt is zeros, for guidance and for dh_uncond; a row's own empty prompt is encoded."""
    assert_scan_equals_diffusers(open_bundle(tiny_xl_bundle), load(tiny_xl_pipeline))


def test_batches_of_an_exported_model_agree(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    settings = dataclasses.replace(SETTINGS, save_images=False, num_inference_steps=5, steps=at_steps(0, 4))
    engine = open_graphs(bundle, Execution(threads=1, provider="cpu"))
    samples = [dataclasses.replace(SAMPLES[i % 3], row=i, seed=i) for i in range(8)]
    alone, *others = (
        scan_one_by_one(Scanner(bundle, engine, settings, BatchCeiling(size, pytest.fail)), samples)
        for size in (1, 3, 8)
    )
    for results in others:
        for one, other in zip(alone, results, strict=True):
            assert isinstance(one, Image) and isinstance(other, Image)
            for first, second in zip(one.steps, other.steps, strict=True):
                for name, values in first.maps.items():
                    np.testing.assert_allclose(second.maps[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
