"""Compares the graphs of a bundle, as saved, with torch on random inputs: values, and the derivative v * (J v).

The error of a quantity is |onnx - torch| / |torch| in the Euclidean norm, worst over the images of a batch. The limit
is that of float32 arithmetic in two different orders of summation.
"""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor, nn

from memscan.export.denoiser import EpsDenoiser
from memscan.export.storage import StorageDtype, is_narrowed

LIMIT = 1e-5
PICTURE_LIMIT = 1e-4
_GUIDANCE = 3.0
_COEFFICIENTS = {"a": 1.1, "b": -0.3, "c": 0.2}

Arrays = dict[str, NDArray]


@dataclasses.dataclass(frozen=True)
class ParityRow:
    """Worst relative error of one output of one graph."""

    graph: str
    output: str
    error: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit  # a NaN fails

    @property
    def limit(self) -> float:
        """Pictures are looked at, in 8 bits, and the VAE is deep: its limit is ten times wider."""
        return PICTURE_LIMIT if self.graph.startswith("vae_") else LIMIT


def round_weights(module: nn.Module, storage: StorageDtype) -> None:
    """Round weights in place as `storage` rounds them in the graphs, so that parity is about arithmetic alone."""
    if storage == "float32":
        return
    for parameter in module.parameters():
        if is_narrowed(parameter.shape, parameter.nbytes):
            parameter.copy_(parameter.half().float())


def check_module(file: Path, module: nn.Module, example: Tensor, prefix: str = "") -> list[ParityRow]:
    """Parity of a graph of one input and one output; `prefix` goes before its name."""
    session = _session(file)
    (output,) = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    with torch.no_grad():
        expected = module(example)
    return [ParityRow(prefix + file.name, session.get_outputs()[0].name, _worst_error(output, expected))]


def check_denoiser(
    folder: Path,
    denoiser: EpsDenoiser,
    latent_shape: tuple[int, int, int],
    text_shape: tuple[int, int],
    tangents: int,
    prefix: str = "",
) -> list[ParityRow]:
    """Parity of measure.onnx in `folder` and, where there is one, of step.onnx; `prefix` goes before their names.

    All of the graph's tangents but the first and the last are zero: torch's forward mode costs passes for each.
    """
    inputs = _random_inputs(denoiser, latent_shape, text_shape)
    probes = torch.zeros(tangents, *inputs["sample"].shape)
    for index in {0, tangents - 1}:
        probes[index] = torch.randn(probes.shape[1:], generator=torch.Generator().manual_seed(1 + index))
    eps, v_dot_jv = _torch_measure(denoiser, inputs, probes)
    rows = []
    feed = {name: value.numpy() for name, value in inputs.items()}
    measured = _run(folder / "measure.onnx", {**feed, "tangents": probes.numpy()})
    for name, expected in (("eps", eps), ("v_dot_jv", v_dot_jv)):
        rows.append(ParityRow(f"{prefix}measure.onnx", name, _worst_error(measured[name], expected)))
    if (folder / "step.onnx").is_file():
        expected_step = _torch_step(denoiser, inputs)
        uncond, previous = _step_extras(inputs)
        scalars = {
            name: np.array(value, np.float32) for name, value in {"guidance_scale": _GUIDANCE, **_COEFFICIENTS}.items()
        }
        stepped = _run(
            folder / "step.onnx",
            {**feed, "uncond_hidden_states": uncond.numpy(), "previous_denoised": previous.numpy(), **scalars},
        )
        for name, expected in expected_step.items():
            rows.append(ParityRow(f"{prefix}step.onnx", name, _worst_error(stepped[name], expected)))
    return rows


def format_table(rows: list[ParityRow]) -> str:
    """The rows as an aligned table."""
    width = max(len(row.graph) for row in rows)
    lines = [f"{'graph':{width}}  {'output':13}  {'error':>7}  {'limit':>7}"]
    for row in rows:
        verdict = "ok" if row.passed else "FAILED"
        lines.append(f"{row.graph:{width}}  {row.output:13}  {row.error:7.1e}  {row.limit:7.0e}  {verdict}")
    return "\n".join(lines)


def _random_inputs(
    denoiser: EpsDenoiser, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
) -> dict[str, Tensor]:
    large = sum(parameter.numel() for parameter in denoiser.parameters()) > 1e8
    batch = 1 if large else 2
    generator = torch.Generator().manual_seed(0)
    return {
        "sample": torch.randn(batch, *latent_shape, generator=generator),
        "timestep": torch.tensor([401, 21][:batch]),
        "encoder_hidden_states": torch.randn(batch, *text_shape, generator=generator),
    }


def _step_extras(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    uncond = torch.randn(inputs["encoder_hidden_states"].shape, generator=generator)
    return uncond, torch.randn(inputs["sample"].shape, generator=generator)


def _torch_measure(denoiser: EpsDenoiser, inputs: dict[str, Tensor], probes: Tensor) -> tuple[Tensor, Tensor]:
    """eps, and the sum of v * (J v) by torch's own forward mode, with attention that it can differentiate."""
    processors = denoiser.unet.attn_processors
    denoiser.unet.set_attn_processor(AttnProcessor())

    def predict(sample: Tensor) -> Tensor:
        return denoiser(sample, inputs["timestep"], inputs["encoder_hidden_states"])

    try:
        with torch.no_grad():
            eps = predict(inputs["sample"])
            total = torch.zeros_like(inputs["sample"])
            for probe in probes:
                if probe.any():
                    total += probe * torch.func.jvp(predict, (inputs["sample"],), (probe,))[1]
    finally:
        denoiser.unet.set_attn_processor(processors)
    return eps, total


def _torch_step(denoiser: EpsDenoiser, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    sample, timestep = inputs["sample"], inputs["timestep"]
    uncond, previous = _step_extras(inputs)
    with torch.no_grad():
        eps_uncond = denoiser(sample, timestep, uncond)
        eps_cond = denoiser(sample, timestep, inputs["encoder_hidden_states"])
    eps = eps_uncond + _GUIDANCE * (eps_cond - eps_uncond)
    alpha, sigma = (table[timestep][:, None, None, None] for table in (denoiser.alpha, denoiser.sigma))
    update = _COEFFICIENTS["a"] * sample + _COEFFICIENTS["b"] * eps + _COEFFICIENTS["c"] * previous
    return {"next_sample": update, "denoised": (sample - sigma * eps) / alpha}


def _run(file: Path, feed: Arrays) -> Arrays:
    session = _session(file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _worst_error(found: NDArray, expected: Tensor) -> float:
    reference = expected.double().numpy().reshape(len(expected), -1)
    difference = found.astype(np.float64).reshape(len(found), -1) - reference
    return float(np.max(np.linalg.norm(difference, axis=1) / np.linalg.norm(reference, axis=1)))
