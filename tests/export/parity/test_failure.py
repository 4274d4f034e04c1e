"""What is said where parity fails: whose values overflowed, and only of the rest that it is to be reported."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from memscan.export.parity.failure import failure, trajectory_failure
from memscan.export.parity.parity import ParityRow
from memscan.export.passes.half_precision import Precision
from memscan.scanner.cli import invoke
from tests.export.checkpoint.spoil import Tensors, rewrite

Overflow = Literal["torch", "graph"] | None
GOOD = ParityRow("vae_decoder.onnx", "image", 1e-6, 1e-5)


def row(graph: str, output: str, overflow: Overflow) -> ParityRow:
    return ParityRow(graph, output, math.nan if overflow else 1.0, 1e-5, "", overflow)


@pytest.mark.parametrize(
    ("rows", "storage", "precision", "said"),
    [
        ([row("measure.onnx", "eps", None)], "float32", "fp32",
         "parity with torch failed for measure.onnx eps: no bundle was written; please report it"),
        ([row("step.onnx", "eps", "torch"), row("measure.sliced.onnx", "eps", "torch")], "float32", "fp32",
         "values of the denoiser lie beyond the range of float32, in torch too, though its weights are finite "
         "(step.onnx eps, measure.sliced.onnx eps): no bundle was written; "
         "this checkpoint computes nothing, mend its weights"),
        ([row("text_encoder.onnx", "hidden", "torch")], "float16", "fp32",
         "values of the text encoder lie beyond the range of float16, in which its weights are stored, or of float32 "
         "(text_encoder.onnx hidden): no bundle was written; export with --storage float32"),
        ([row("baseline/measure.shallow.onnx", "eps", "graph")], "float32", "fp16",
         "values of the baseline's denoiser lie beyond the range of float16 (baseline/measure.shallow.onnx eps): "
         "no bundle was written; export with --precision bf16 or fp32"),
        ([row("measure.onnx", "eps", "graph")], "float32", "fp32",
         "parity with torch failed for measure.onnx eps: no bundle was written; please report it"),
    ],
    ids=["wrong", "float32", "stored in float16", "computed in float16", "the graph alone"],
)  # fmt: skip
def test_the_cause_is_named(rows: list[ParityRow], storage: str, precision: Precision, said: str) -> None:
    assert failure([GOOD, *rows], precision, narrowed=storage == "float16") == said


def test_nothing_is_said_where_all_passed() -> None:
    assert failure([GOOD], "fp32", narrowed=False) is None


PIPELINE = "StableDiffusionPipeline"


@pytest.mark.parametrize(
    ("rows", "storage", "precision", "said"),
    [
        ([ParityRow(PIPELINE, "latents", 0.31, 1e-4), ParityRow(PIPELINE, "image", 0.02, 1e-4)], "float32", "fp32",
         "the image that the bundle draws is not that of diffusers' own StableDiffusionPipeline (latents by 3.1e-01, "
         "image by 2.0e-02): no bundle was written; a configuration was misread, please report it"),
        ([ParityRow(PIPELINE, "latents", math.inf, 1e-4, "has the shape 1x4, torch's is 1x8")], "float32", "fp32",
         "the image that the bundle draws is not that of diffusers' own StableDiffusionPipeline (latents has the shape "
         "1x4, torch's is 1x8): no bundle was written; a configuration was misread, please report it"),
        ([row(PIPELINE, "latents", "torch")], "float32", "fp32",
         "the image that diffusers' own StableDiffusionPipeline draws is not finite: no bundle was written; "
         "this checkpoint computes nothing, mend its weights"),
        ([row(PIPELINE, "latents", "torch")], "float16", "fp32",
         "the image that diffusers' own StableDiffusionPipeline draws is not finite: no bundle was written; "
         "export with --storage float32"),
        ([row(PIPELINE, "latents", "graph")], "float32", "fp16",
         "the image that the bundle draws is not finite: values of the denoiser lie beyond the range of float16: "
         "no bundle was written; export with --precision bf16 or fp32"),
        ([ParityRow(f"baseline/{PIPELINE}", "latents", 0.31, 1e-4)], "float32", "fp32",
         "the latents that the baseline draws are not those of diffusers' own StableDiffusionPipeline (latents by "
         "3.1e-01): no bundle was written; a configuration was misread, please report it"),
    ],
    ids=["wrong", "of another size", "float32", "stored in float16", "computed in float16", "baseline"],
)  # fmt: skip
def test_the_cause_of_a_wrong_image_is_named(
    rows: list[ParityRow], storage: str, precision: Precision, said: str
) -> None:
    assert trajectory_failure(rows, precision, narrowed=storage == "float16") == said
    assert trajectory_failure([GOOD], precision, narrowed=False) is None


def scaled(name: str, factor: float) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor * factor if key == name else tensor for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("part", "weight", "factor", "options", "said"),
    [
        ("unet", "conv_out.weight", 1e38, [], "values of the denoiser lie beyond the range of float32, in torch too, "),
        (
            "unet",
            "conv_out.weight",
            1e7,
            ["--precision", "fp16"],
            "values of the denoiser lie beyond the range of float16",
        ),
    ],
    ids=["float32", "computed in float16"],
)
def test_finite_weights_whose_values_overflow_are_said_by_their_part(
    part: str,
    weight: str,
    factor: float,
    options: list[str],
    said: str,
    tiny_pipeline: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = shutil.copytree(tiny_pipeline, tmp_path / "pipeline")
    rewrite(pipeline / part, scaled(weight, factor))
    assert invoke(["export", str(pipeline), str(tmp_path / "out"), "--tangents", "1", "--no-certify", *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memscan: error: ")]
    assert line.startswith(f"memscan: error: {said}")
    assert not (tmp_path / "out").exists()
