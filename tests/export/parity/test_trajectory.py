"""The image of an exported bundle is that of diffusers' own pipeline, and no configuration that was misread passes."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from memscan.export.checkpoint.checkpoint import Checkpoint, find_baseline, find_checkpoint
from memscan.export.parity import trajectory
from memscan.export.parity.baseline_trajectory import UNGUIDED, compare_baseline, draw_baseline_reference
from memscan.export.parity.parity import ParityRow
from memscan.export.parity.trajectory import Drawing, compare_trajectory, draw_reference
from memscan.export.quiet import quiet_libraries
from memscan.scanner.cli import invoke
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.settings import Measurement
from tests.conftest import Exported
from tests.export.checkpoint.spoil import edit
from tests.tiny_pipeline import save_pipeline

DRAWING = Drawing("a photo of a cat", 4, 7.5, seed=2**33 + 1)
"""Short enough that the tiny tokenizers pad it."""

SCHEDULER = "scheduler/scheduler_config.json"
Spoil = Callable[[Path], None]


def errors(bundle: Path, pipeline: Path, drawing: Drawing = DRAWING) -> dict[str, ParityRow]:
    """What the bundle draws beside what diffusers makes of the checkpoint at `pipeline`."""
    with quiet_libraries():
        checkpoint = find_checkpoint(str(pipeline))
        parts = {part: checkpoint.load(part) for part in checkpoint.family.parts}
        reference = draw_reference(checkpoint, parts, drawing, "fp32")
    assert reference.note == ""
    return {row.output: row for row in compare_trajectory(bundle, reference, "fp32")}


def edited(file: str, **changes: Any) -> Spoil:
    return lambda pipeline: edit(pipeline / file, **changes)


@pytest.mark.parametrize("prompt", ["a photo of a cat", "", "the red house, with more text than fits into it"])
def test_the_trajectory_and_the_image_are_those_of_the_pipeline(
    prompt: str, tiny_bundle: Path, tiny_pipeline: Path
) -> None:
    rows = errors(tiny_bundle, tiny_pipeline, Drawing(prompt, 4, 7.5))
    assert all(row.passed for row in rows.values())
    assert (rows["latents"].limit, rows["image"].limit) == (1e-4, 1e-4)


def test_those_of_sdxl_are_too(tiny_xl_bundle: Path, tiny_xl_pipeline: Path) -> None:
    assert all(row.passed for row in errors(tiny_xl_bundle, tiny_xl_pipeline).values())


def test_a_scheduler_in_config_json_is_the_pipelines_too(
    tiny_bundle: Path, tiny_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_pipeline, tmp_path / "copy")
    (copy / SCHEDULER).rename(copy / "scheduler/config.json")
    assert all(row.passed and row.error is not None for row in errors(tiny_bundle, copy).values())


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 1.5])
def test_guidance_is_left_out_where_the_pipeline_leaves_it_out(
    guidance_scale: float, tiny_bundle: Path, tiny_pipeline: Path
) -> None:
    rows = errors(tiny_bundle, tiny_pipeline, Drawing("a cat", 4, guidance_scale))
    assert all(row.passed for row in rows.values())


@pytest.mark.parametrize(
    "spoil",
    [
        edited(SCHEDULER, prediction_type="v_prediction"),
        edited(SCHEDULER, beta_schedule="linear"),
        edited(SCHEDULER, beta_end=0.013),
        edited(SCHEDULER, timestep_spacing="trailing"),
        edited(SCHEDULER, set_alpha_to_one=True),
        edited("tokenizer/tokenizer_config.json", pad_token="!"),
        edited("text_encoder/config.json", hidden_act="gelu"),
        edited("unet/config.json", freq_shift=1),
    ],
    ids=[
        "prediction type",
        "beta schedule",
        "beta",
        "spacing",
        "last alpha",
        "padding",
        "activation",
        "time embedding",
    ],
)
def test_a_configuration_that_was_misread_changes_the_trajectory(
    spoil: Spoil, tiny_bundle: Path, tiny_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_pipeline, tmp_path / "copy")
    spoil(copy)
    rows = errors(tiny_bundle, copy)
    assert not rows["latents"].passed
    assert not rows["image"].passed


def test_a_scaling_of_latents_that_was_misread_changes_the_image_alone(
    tiny_bundle: Path, tiny_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_pipeline, tmp_path / "copy")
    edit(copy / "vae/config.json", scaling_factor=0.71)
    rows = errors(tiny_bundle, copy)
    assert rows["latents"].passed
    assert not rows["image"].passed


def test_a_size_that_was_misread_is_said_by_both_shapes(tiny_bundle: Path, tiny_pipeline: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_pipeline, tmp_path / "copy")
    edit(copy / "unet/config.json", sample_size=16)
    row = errors(tiny_bundle, copy)["latents"]
    assert not row.passed
    assert row.note == "has the shape 1x4x8x8, torch's is 1x4x16x16"


@pytest.mark.parametrize(
    "spoil",
    [
        edited("model_index.json", force_zeros_for_empty_prompt=False),
        edited(SCHEDULER, steps_offset=0),
        edited("tokenizer_2/tokenizer_config.json", pad_token="<|endoftext|>"),
    ],
    ids=["no prompt is zeros", "offset", "the second padding"],
)
def test_a_configuration_of_sdxl_that_was_misread_changes_the_trajectory(
    spoil: Spoil, tiny_xl_bundle: Path, tiny_xl_pipeline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_xl_pipeline, tmp_path / "copy")
    spoil(copy)
    assert not errors(tiny_xl_bundle, copy)["latents"].passed


def test_guidance_of_another_convention_changes_the_trajectory(
    tiny_bundle: Path, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in papers where a scale of 0 is no guidance."""
    monkeypatch.setattr(Measurement, "applied_guidance", property(lambda settings: settings.guidance_scale + 1))
    assert not errors(tiny_bundle, tiny_pipeline)["latents"].passed


def test_the_step_that_the_host_takes_is_compared_too(
    tiny_bundle: Path, tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = SolverStep.take

    def spoilt(step: SolverStep, *arguments: Any) -> Any:
        next_x, denoised = take(step, *arguments)
        return next_x * np.float32(1.001), denoised

    monkeypatch.setattr(SolverStep, "take", spoilt)
    row = errors(tiny_bundle, tiny_pipeline)["latents"]
    assert row.error == pytest.approx(1e-3, rel=1e-2)
    assert not row.passed


def test_a_pipeline_that_diffusers_cannot_run_is_said(
    tiny_pipeline: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find_checkpoint(str(tiny_pipeline))
    monkeypatch.setattr(StableDiffusionPipeline, "encode_prompt", lambda *_, **__: 1 / 0)
    parts = {part: checkpoint.load(part) for part in checkpoint.family.parts}
    reference = draw_reference(checkpoint, parts, DRAWING, "fp32")
    rows = compare_trajectory(tiny_bundle, reference, "fp32")
    assert [row.error for row in rows] == [None, None]
    assert rows[0].note.startswith("diffusers cannot run it: ")


def test_a_pipeline_that_runs_out_of_memory_is_not_taken_for_one_that_cannot_run(
    tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes")

    monkeypatch.setattr(trajectory, "own_pipeline", exhausted)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        draw_reference(find_checkpoint(str(tiny_pipeline)), {}, DRAWING, "fp32")


def test_export_ends_with_the_table_of_the_trajectory(tiny_export: Exported) -> None:
    table = tiny_export.printed[tiny_export.printed.index("\npipeline ") :].splitlines()[1:4]
    assert table[0].split() == ["pipeline", "output", "error", "limit"]
    for line, output in zip(table[1:], ("latents", "image"), strict=True):
        name, found, error, limit, verdict = line.split()
        assert (name, found, limit, verdict) == ("StableDiffusionPipeline", output, "1e-04", "ok")
        assert 0 < float(error) < 1e-5
    assert "4 steps of ddim at guidance 7.5" in tiny_export.printed


def baseline_row(bundle: Path, pipeline: Path, baseline: Path) -> ParityRow:
    """What the bundle's baseline draws beside what diffusers makes of the checkpoint at `baseline`."""
    drawing = dataclasses.replace(DRAWING, guidance_scale=UNGUIDED)
    with quiet_libraries():
        model = find_checkpoint(str(pipeline))
        early = find_baseline(str(baseline), model)
        parts = {part: early.load(part) for part in model.family.parts}
        reference = draw_baseline_reference(model, early, parts, drawing, "fp32")
    assert reference.note == ""
    return compare_baseline(bundle, reference, "fp32")


def test_the_baselines_trajectory_is_that_of_its_own_pipeline(
    tiny_export: Exported, tiny_pipeline: Path, tiny_baseline: Path
) -> None:
    row = baseline_row(tiny_export.path, tiny_pipeline, tiny_baseline)
    assert row.error is not None and row.error < 1e-5 and row.limit == 1e-4
    (line,) = [line for line in tiny_export.printed.splitlines() if line.startswith("baseline/StableDiff")]
    name, output, error, limit, verdict = line.split()
    assert (name, output, limit, verdict) == ("baseline/StableDiffusionPipeline", "latents", "1e-04", "ok")
    assert 0 < float(error) < 1e-5
    assert "by the baseline: " in tiny_export.printed


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_baseline_of_other_weights_changes_its_trajectory(
    part: str, tiny_bundle: Path, tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_baseline, tmp_path / "copy")
    shutil.rmtree(copy / part)
    shutil.copytree(tiny_pipeline / part, copy / part)
    assert not baseline_row(tiny_bundle, tiny_pipeline, copy).passed


@pytest.mark.parametrize(
    "spoil",
    [
        edited(SCHEDULER, prediction_type="v_prediction"),
        edited(SCHEDULER, beta_end=0.013),
        edited("text_encoder/config.json", hidden_act="gelu"),
        edited("unet/config.json", freq_shift=1),
    ],
    ids=["prediction type", "beta", "activation", "time embedding"],
)
def test_a_configuration_of_the_baseline_that_was_misread_changes_its_trajectory(
    spoil: Spoil, tiny_bundle: Path, tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_baseline, tmp_path / "copy")
    spoil(copy)
    assert not baseline_row(tiny_bundle, tiny_pipeline, copy).passed


@pytest.mark.slow
def test_an_export_that_misreads_the_schedule_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = save_pipeline(tmp_path / "sd2", family="sd2")
    (tmp_path / "out").mkdir()
    right = find_checkpoint(str(pipeline)).schedule()
    edit(pipeline / SCHEDULER, beta_schedule="linear")
    monkeypatch.setattr(Checkpoint, "schedule", lambda checkpoint: right)
    assert invoke(["export", str(pipeline), str(tmp_path / "out" / "bundle"), "--tangents", "1", "--no-certify"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the image that the bundle draws is not that of diffusers' own StableDiffusionPipeline (latents by " in said
    assert list((tmp_path / "out").iterdir()) == []
