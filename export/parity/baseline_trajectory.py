"""The latents of one prompt and seed by a baseline's graphs, step by step, and by its own pipeline in diffusers.

A scan asks the baseline for what it says of the prompt and for nothing else: here, too, nothing guides. Its text
encoder, what its denoiser predicts, the noise levels and the weights lie on the way; a VAE does not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.parity.asking import ask
from memscan.export.parity.parity import ParityRow, compare_values
from memscan.export.parity.pipeline import own_pipeline
from memscan.export.parity.trajectory import (
    Array,
    Drawing,
    Drawn,
    Reference,
    drawn_by_diffusers,
    example_sample,
    latents_limit,
)
from memscan.export.passes.half_precision import Precision
from memscan.scanner.bundle import open_bundle
from memscan.scanner.graph_names import of_baseline
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.model.text import PromptEncoder, Tokenizer
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.sampling.samplers import sampler_steps, starting_scale
from memscan.scanner.scanning.channels import shared_inputs, shown_to
from memscan.scanner.settings import Execution

UNGUIDED = 1.0


def draw_baseline_reference(
    model: Checkpoint, baseline: Checkpoint, parts: Mapping[str, Any], drawing: Drawing, precision: Precision
) -> Reference:
    """What the baseline's own pipeline draws, in float32; what it lacks is the model's.

    Args:
        parts: denoiser and text encoders of the baseline, and a VAE, by the names of their folders.
        drawing: unguided.
        precision: of the graphs that are to be compared with it.
    """

    name = of_baseline(model.family.pipelines[0])
    first, *_ = sampler_steps(model.schedule(), drawing.sampler, drawing.num_inference_steps)
    if first.level.alpha == 0:
        return Reference(name, drawing, None, "it begins at pure noise, where its eps tells nothing of an image")

    def draw() -> Drawn:
        pipeline = own_pipeline(model, parts, scheduler=baseline if baseline.has("scheduler") else model)
        latents = pipeline(
            drawing.prompt,
            num_inference_steps=drawing.num_inference_steps,
            guidance_scale=drawing.guidance_scale,
            output_type="latent",
            **ask(pipeline, model, parts, drawing.seed),
        ).images
        return Drawn(latents.numpy(), None)

    return drawn_by_diffusers(name, drawing, precision, draw)


def compare_baseline(folder: Path, reference: Reference, precision: Precision) -> ParityRow:
    """The latents of the baseline in the bundle at `folder`, compared with the reference."""
    name, limit, expected = reference.pipeline, latents_limit(precision), reference.drawn
    if expected is None:
        return ParityRow(name, "latents", None, limit, reference.note)
    found = draw_baseline(folder, reference.drawing)
    return compare_values(name, "latents", found, expected.latents, limit, reference.note)


def draw_baseline(folder: Path, drawing: Drawing) -> Array:
    """Latents [1, C, h, w] where the trajectory of the baseline ends, on the CPU; eps is that of its cheapest graph."""
    bundle = open_bundle(folder, verify=False)
    graphs = Graphs(bundle, OnnxRuntime(bundle, Execution(provider="cpu")))
    encoded = PromptEncoder(bundle, graphs)(Tokenizer(bundle)(drawing.prompt)).baseline
    shown = [shown_to(bundle, example_sample(bundle, drawing), "crop")]
    taken = shared_inputs(bundle, graphs, shown, drawing.guidance_scale)
    inputs = {**{name: values[None] for name, values in encoded.items()}, **taken}
    text = {name: graphs.upload(values) for name, values in inputs.items()}
    tangents = graphs.upload(np.zeros((bundle.tangents_per_call, 1, *bundle.latent_shape), np.float32))
    steps = sampler_steps(bundle.schedule, drawing.sampler, drawing.num_inference_steps)
    noise = initial_latents([drawing.seed], bundle.latent_shape)
    sample = noise * np.float32(starting_scale(bundle.schedule, drawing.sampler, steps[0]))
    denoised = np.zeros_like(sample)
    for step in steps:
        answer, _ = graphs.measure(
            graphs.upload(sample), step.level, text, tangents, derivative=bundle.derivatives[0], baseline=True
        )
        eps = graphs.download(answer)
        sample, denoised = step.take(sample, eps, eps, denoised, drawing.guidance_scale)
    return sample
