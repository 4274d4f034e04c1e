"""Exports of flow matching, end to end: the image is diffusers' own, the bundle offers what a transformer can, and a
manifest is scanned."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
from PIL import Image

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.parity.trajectory import Drawing, compare_trajectory, draw_reference
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.inspection.facts import facts
from memscan.scanner.results.reader import open_results
from memscan.scanner.settings import DERIVATIVES, Probes
from tests.conftest import Exported

KEY = ("row", "seed", "step_index")


def test_the_trajectory_and_the_image_are_those_of_the_pipeline(tiny_sd3_export: Exported) -> None:
    table = tiny_sd3_export.printed[tiny_sd3_export.printed.index("\npipeline ") :].splitlines()[1:4]
    assert table[0].split() == ["pipeline", "output", "error", "limit"]
    for line, output in zip(table[1:], ("latents", "image"), strict=True):
        name, found, error, limit, verdict = line.split()
        assert (name, found, limit, verdict) == ("StableDiffusion3Pipeline", output, "1e-04", "ok")
        assert 0 < float(error) < 2e-5


@pytest.mark.parametrize("guidance_scale", [0.5, 3.0])
def test_a_prompt_that_t5_alone_holds_whole_is_drawn_as_by_the_pipeline(
    guidance_scale: float, tiny_sd3_export: Exported, tiny_sd3_pipeline: Path
) -> None:
    """Longer than CLIP takes, with signs that T5 cannot spell."""
    drawing = Drawing("the red house, a dog, a cat of a photo! @" * 2, 3, guidance_scale, seed=7, sampler="euler")
    with quiet_libraries():
        checkpoint = find_checkpoint(str(tiny_sd3_pipeline))
        parts = {part: checkpoint.load(part) for part in checkpoint.family.parts}
        reference = draw_reference(checkpoint, parts, drawing, "fp32")
    assert reference.note == ""
    assert all(row.passed for row in compare_trajectory(tiny_sd3_export.path, reference, "fp32"))


def test_the_bundle_offers_what_a_transformer_can(tiny_sd3_export: Exported) -> None:
    bundle = open_bundle(tiny_sd3_export.path)
    assert bundle.prediction_type == "flow_prediction"
    assert bundle.latent_shape == (16, 8, 8)
    assert bundle.derivatives == DERIVATIVES
    assert bundle.passes["shallow"] < bundle.passes["frozen"] < bundle.passes["exact"]
    assert not bundle.gives("bottleneck", "prompt") and not bundle.gives("token_attention", "prompt")
    assert bundle.gives("condition_product", "prompt") == ("condition.onnx",)
    assert "its shallow derivative ends at attention, and there is no metric" in tiny_sd3_export.printed


@pytest.mark.parametrize(
    ("name", "family"), [("tiny_sd3_export", "Stable Diffusion 3"), ("tiny_flux_export", "FLUX.1")]
)
def test_inspect_names_the_family(name: str, family: str, request: pytest.FixtureRequest) -> None:
    bundle = open_bundle(request.getfixturevalue(name).path, verify=False)
    assert facts(bundle, verified=False)["family"] == family


def test_a_manifest_is_scanned_by_all_metrics(tiny_sd3_export: Exported, tmp_path: Path) -> None:
    """None of those that it is given divides by the image's share of pure noise, where its path begins."""
    (tmp_path / "prompts.csv").write_text("prompt,seed\na photo of a red cat,1\nthe blue house,2\n")
    out = tmp_path / "results"
    arguments = ["--model", str(tiny_sd3_export.path), "--out", str(out), "--provider", "cpu", "--threads", "1"]
    settings = ["--num-inference-steps", "4", "--step", "1", "--step", "3", "--guidance", "3", "--maps"]
    assert invoke(["run", str(tmp_path / "prompts.csv"), *arguments, *settings, "--metrics", "all"]) == 0
    results = open_results(out)
    rows = results.rows(
        ["row", "seed", "step_index", "status", "sigma", "dh_uncond_mean"], ds.field("status") == "ok"
    ).to_pylist()
    assert len(rows) == 4
    assert all(np.isfinite(row["dh_uncond_mean"]) for row in rows)


@pytest.mark.parametrize("name", ["tiny_sd3_export", "tiny_flux_export"])
def test_sixteen_channels_have_a_default_colouring_in_bundle_run_and_report(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Twice as many colours as channels; the picture is decoded, and the report says what was measured."""
    exported: Exported = request.getfixturevalue(name)
    assert open_bundle(exported.path, verify=False).defaults.probes == Probes("lattice", 32)
    out = tmp_path / "results"
    arguments = ["--model", str(exported.path), "--out", str(out), "--provider", "cpu", "--threads", "1", "--images"]
    settings = ["--num-inference-steps", "2", "--step", "1", "--derivative", "frozen", "--threshold", "0.5"]
    assert invoke(["run", "--prompt", "a photo of a cat", *arguments, *settings]) == 0
    (picture,) = out.rglob("*.png")
    with Image.open(picture) as image:
        assert image.size == (32, 32)
    assert invoke(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    assert "32 lattice probes of seed 0" in (tmp_path / "report.html").read_text()


def test_a_metric_of_attention_is_refused_in_one_line(
    tiny_sd3_export: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_sd3_export.path), "--out", str(tmp_path / "out"), "--metrics", "bright_ending"]
    assert invoke(["run", "--prompt", "a cat", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the metric bright_ending asks for" in line and "which no graph of this bundle gives" in line


@pytest.mark.slow
def test_without_t5_the_image_is_the_pipelines_too(tiny_sd3_without_t5: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert invoke(["export", str(tiny_sd3_without_t5), str(bundle), "--tangents", "1", "--no-certify"]) == 0
    text = json.loads((bundle / "bundle.json").read_text())["text"]
    assert [rule["position"] for rule in text["tokenizers"]] == [0, 0]
    assert isinstance(open_bundle(bundle), Bundle)


def test_flux_is_drawn_as_by_its_pipeline(tiny_flux_export: Exported) -> None:
    """Packed latents, a told guidance, a shift by resolution; guided no further."""
    bundle = open_bundle(tiny_flux_export.path)
    assert bundle.defaults.guidance_scale == 3.5
    assert bundle.takes.guidance
    assert bundle.latent_shape == (16, 8, 8)
    table = tiny_flux_export.printed[tiny_flux_export.printed.index("\npipeline ") :].splitlines()[2:4]
    for line, output in zip(table, ("latents", "image"), strict=True):
        name, found, error, limit, verdict = line.split()
        assert (name, found, limit, verdict) == ("FluxPipeline", output, "1e-04", "ok")
        assert 0 < float(error) < 2e-5


def _without_unguided(bundle: Path, copy: Path) -> Path:
    """The bundle as it was exported before there were steps with the prompt alone."""
    shutil.copytree(bundle, copy)
    record = json.loads((copy / "bundle.json").read_text())
    del record["graphs"]["unguided.onnx"], record["files"]["unguided.onnx"]
    (copy / "bundle.json").write_text(json.dumps(record))
    (copy / "unguided.onnx").unlink()
    return copy


def test_flux_is_sampled_at_half_the_price_with_the_same_results(
    tiny_flux_export: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pass a step, unless a metric wants the empty prompt at every step."""
    older = _without_unguided(tiny_flux_export.path, tmp_path / "older.bundle")
    settings = ["--num-inference-steps", "6", "--step", "5", "--derivative", "frozen", "--provider", "cpu"]
    found = {}
    for bundle, passes in ((tiny_flux_export.path, 5), (older, 10)):
        arguments = ["run", "--prompt", "a photo of a cat", "--model", str(bundle), *settings]
        assert invoke([*arguments, "--metrics", "dh_uncond,ds_uncond,guidance_norm", "--dry-run"]) == 0
        assert " 10 to sample" in capsys.readouterr().err
        arguments += ["--metrics", "dh_uncond,ds_uncond,update_norm", "--threads", "1"]
        assert invoke([*arguments, "--dry-run"]) == 0
        assert f" {passes} to sample" in capsys.readouterr().err
        out = tmp_path / f"{passes}"
        assert invoke([*arguments, "--out", str(out)]) == 0
        (found[passes],) = open_results(out).rows([*KEY, "dh_uncond_mean", "ds_uncond_mean", "update_norm"]).to_pylist()
    assert found[5] == pytest.approx(found[10], rel=1e-6, abs=1e-6)


def test_flux_is_scanned_with_the_empty_prompt_for_none(tiny_flux_export: Exported, tmp_path: Path) -> None:
    out = tmp_path / "results"
    arguments = ["--model", str(tiny_flux_export.path), "--out", str(out), "--provider", "cpu", "--threads", "1"]
    assert invoke(["run", "--prompt", "a photo of a cat", *arguments, "--num-inference-steps", "3", "--step", "2"]) == 0
    (row,) = open_results(out).rows([*KEY, "status", "dh_uncond_mean"]).to_pylist()
    assert row["status"] == "ok"
    assert np.isfinite(row["dh_uncond_mean"]) and row["dh_uncond_mean"] != 0
