"""One image from prompt and seed, by memscan's scanner over the written graphs and by the checkpoint's own pipeline.

Random inputs prove that a graph is right. That it is the right graph, rightly used, is proven here: tokens, padding,
the encoding of no prompt, guidance, noise levels and their spacing, what the denoiser predicts, the size that it is
told and the scaling of latents all lie on the way of an image.

Errors are relative, in the Euclidean norm. Those of a pass, 1e-6, grow with the scale of guidance and add up over the
steps: hence 1e-4 for the latents where the trajectory ends, and for the image, whose limit by the VAE alone is that.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.parity.asking import ask, encoded, example_pictures
from memscan.export.parity.parity import NO_BFLOAT16, PICTURE_LIMIT, ParityRow, compare_values
from memscan.export.parity.pipeline import own_pipeline
from memscan.export.passes.half_precision import Precision
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.errors import first_line
from memscan.scanner.input.rows import CONDITIONS
from memscan.scanner.metrics.probes import default_probes
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.failures import is_out_of_memory
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution, Measurement, Sampler, Step

Array = NDArray[np.float32]

TRAJECTORY_LIMIT = 1e-4
HALF_TRAJECTORY_LIMIT = 5e-2
"""Of float16, whose single pass may have 1e-2: guidance amplifies it."""

_IN_FLOAT32 = "the pipeline computes in float32: diffusers runs none in half precision on a CPU"
_STEPS = 4
_FEW_STEPS = 2
"""Of a large denoiser, whose every step is two passes: no fewer depend on a noise level between noise and image."""
_LARGE = 10**8


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What is drawn, and in how many steps of which sampler."""

    prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int = 0
    sampler: Sampler = "ddim"

    def __str__(self) -> str:
        return (
            f"{self.prompt!r}, seed {self.seed}, {self.num_inference_steps} steps of {self.sampler} at guidance "
            f"{self.guidance_scale:g}"
        )


class Drawn(NamedTuple):
    """The latents where a trajectory ends, [1, C, h, w], and the image in [0, 1], [1, 3, H, W], if it was decoded."""

    latents: Array
    image: Array | None


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the class of diffusers called `pipeline` drew; `drawn` is None where it did not, for the reason in `note`.

    It holds arrays only, so that torch's weights can be freed before a runtime loads its own.
    """

    pipeline: str
    drawing: Drawing
    drawn: Drawn | None
    note: str = ""


def steps_for(denoiser: torch.nn.Module) -> int:
    """Steps that cost seconds for a small denoiser, and a few passes of a large one."""
    return _FEW_STEPS if sum(parameter.numel() for parameter in denoiser.parameters()) > _LARGE else _STEPS


def draw_reference(
    checkpoint: Checkpoint, parts: Mapping[str, Any], drawing: Drawing, precision: Precision
) -> Reference:
    """What the checkpoint's own pipeline draws, in float32, and where the checkpoint has no size, in that which it
    chooses itself.

    Args:
        parts: as `own_pipeline` takes them.
        precision: of the graphs that are to be compared with it.
    """

    def draw() -> Drawn:
        pipeline = own_pipeline(checkpoint, parts)
        drawn = _drawn_by(pipeline, drawing, ask(pipeline, checkpoint, parts, drawing.seed))
        if checkpoint.family.packed == 1:
            return drawn
        return drawn._replace(latents=_unpacked(drawn.latents, checkpoint.latent_shape()))

    return drawn_by_diffusers(checkpoint.family.pipelines[0], drawing, precision, draw)


def drawn_by_diffusers(name: str, drawing: Drawing, precision: Precision, draw: Callable[[], Drawn]) -> Reference:
    """What `draw` makes by a pipeline, where there is something that can be compared with it and diffusers can."""
    if precision == "bf16":
        return Reference(name, drawing, None, NO_BFLOAT16)
    try:
        drawn = draw()
    except Exception as error:  # whatever a pipeline makes of a checkpoint that it was not written for
        if is_out_of_memory(error):
            raise
        return Reference(name, drawing, None, f"diffusers cannot run it: {first_line(error)}")
    return Reference(name, drawing, drawn, "" if precision == "fp32" else _IN_FLOAT32)


def compare_trajectory(folder: Path, reference: Reference, precision: Precision) -> list[ParityRow]:
    """What a scan of the bundle at `folder` draws, compared with the reference."""
    limits = {
        "latents": latents_limit(precision),
        "image": PICTURE_LIMIT if precision == "fp32" else HALF_TRAJECTORY_LIMIT,
    }
    name, note, expected = reference.pipeline, reference.note, reference.drawn
    if expected is None:
        return [ParityRow(name, output, None, limit, note) for output, limit in limits.items()]
    found = draw(folder, reference.drawing)
    return [
        compare_values(name, output, getattr(found, output), getattr(expected, output), limit, note)
        for output, limit in limits.items()
    ]


def latents_limit(precision: Precision) -> float:
    """Of the latents where a trajectory ends, by the precision of the graphs."""
    return TRAJECTORY_LIMIT if precision == "fp32" else HALF_TRAJECTORY_LIMIT


def draw(folder: Path, drawing: Drawing) -> Drawn:
    """What a scan of the bundle at `folder` draws, on the CPU."""
    bundle = open_bundle(folder, verify=False)
    graphs = _Keeping(bundle, OnnxRuntime(bundle, Execution(provider="cpu")))
    scanner = Scanner(bundle, graphs, _measurement(bundle, drawing), BatchCeiling(1, lambda line: None))
    (prepared,) = scanner.prepare([example_sample(bundle, drawing)])
    assert not isinstance(prepared, Rejected), prepared.error
    list(scanner.scan([prepared]))
    (drawn,) = graphs.drawn
    return drawn


def example_sample(bundle: Bundle, drawing: Drawing) -> Sample:
    """What is drawn, with the pictures that the bundle's denoiser is shown."""
    channels = bundle.takes.channels
    pictures = {} if channels is None else encoded(example_pictures(channels.kind, bundle.image_size))
    image, mask = (pictures.get(role) for role in CONDITIONS)
    return Sample(0, drawing.seed, drawing.prompt, condition_image=image, condition_mask=mask)


class _Keeping(Graphs):
    """Keeps what is decoded, before it is rounded to pixels."""

    def __init__(self, bundle: Bundle, runtime: OnnxRuntime) -> None:
        super().__init__(bundle, runtime)
        self.drawn: list[Drawn] = []

    def decode(self, latents: Value) -> Array:
        image = super().decode(latents)
        self.drawn.append(Drawn(self.download(latents), np.clip(image / 2 + 0.5, 0, 1)))
        return image


def _measurement(bundle: Bundle, drawing: Drawing) -> Measurement:
    """A scan that costs no more than the image: its one metric is of what guided steps answer."""
    return Measurement(
        num_inference_steps=drawing.num_inference_steps,
        guidance_scale=drawing.guidance_scale,
        steps=(Step(drawing.num_inference_steps - 1, None, False),),
        probes=bundle.defaults.probes or default_probes(bundle.latent_shape[0]),
        metrics=("ds_uncond",),
        mask_map="ds_uncond",
        score_name="ds_uncond_mean",
        save_images=True,
        sampler=drawing.sampler,
    )


def _unpacked(packed: Array, latent_shape: tuple[int, int, int]) -> Array:
    """Latents [1, h/2 * w/2, C * 4], as a pipeline that packs them has them, to [1, C, h, w]."""
    channels, height, width = latent_shape
    squares = packed.reshape(1, height // 2, width // 2, channels, 2, 2)
    return squares.transpose(0, 3, 1, 4, 2, 5).reshape(1, channels, height, width)


def _drawn_by(pipeline: DiffusionPipeline, drawing: Drawing, asked: Mapping[str, Any]) -> Drawn:
    ends: list[torch.Tensor] = []

    def keep(pipeline: Any, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        ends[:] = [tensors["latents"]]
        return tensors

    image = pipeline(
        drawing.prompt,
        num_inference_steps=drawing.num_inference_steps,
        guidance_scale=drawing.guidance_scale,
        callback_on_step_end=keep,
        output_type="pt",
        **asked,
    ).images
    return Drawn(ends[0].numpy(), image.numpy())
