"""`memscan export --height --width`: images of another size than the checkpoint's, told to a denoiser that is told."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.export.checkpoint.checkpoint import find_baseline, find_checkpoint
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.scanner.bundle import open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import ExportError
from tests.export.whole import export_whole, scan


def test_a_size_is_checked_against_vae_and_denoiser(tiny_pipeline: Path) -> None:
    model = find_checkpoint(str(tiny_pipeline))
    assert model.image_size() == (32, 32)
    wide = model.at_size(None, 48)
    assert (wide.image_size(), wide.latent_shape()) == ((32, 48), (4, 8, 12))
    assert wide.remarks[-1] == "tiny-sd1: images of 32 x 48 pixels, of a model made for 32 x 32"
    assert model.at_size(32, 32) is model
    with pytest.raises(ExportError, match=r"--width 44: it must be a multiple of 8, 4 pixels to a cell of latents"):
        model.at_size(32, 44)
    with pytest.raises(ExportError, match=r"--height 4: it must be a multiple of 8"):
        model.at_size(4, None)


def test_a_baseline_has_the_models_size(tiny_pipeline: Path, tiny_baseline: Path) -> None:
    model = find_checkpoint(str(tiny_pipeline)).at_size(16, 40)
    assert find_baseline(str(tiny_baseline), model).latent_shape() == (4, 4, 10)


def test_a_size_that_cannot_be_is_one_line(
    tiny_pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", str(tiny_pipeline), str(tmp_path / "out"), "--height", "30"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--height 30: it must be a multiple of 8" in line


def test_another_size_of_sdxl_is_that_of_diffusers(tiny_xl_pipeline: Path, tmp_path: Path) -> None:
    """The denoiser is told the size of the images that are made: the trajectory would differ, were it the trained."""
    model = find_checkpoint(str(tiny_xl_pipeline)).at_size(24, 40)
    said = export_whole(model, tmp_path / "bundle")
    assert "tiny-sdxl: images of 24 x 40 pixels, of a model made for 32 x 32" in said
    bundle = open_bundle(tmp_path / "bundle")
    assert (bundle.image_size, bundle.latent_shape) == ((24, 40), (4, 6, 10))
    pq.write_table(pa.table({"prompt": ["a red cat", "the dog"]}), tmp_path / "prompts.parquet")
    table = scan(tmp_path / "bundle", tmp_path / "prompts.parquet", tmp_path / "out", "--maps")
    assert table["status"].to_pylist() == ["ok", "ok"]


def test_the_time_ids_follow_the_size(tiny_xl_pipeline: Path) -> None:
    model = find_checkpoint(str(tiny_xl_pipeline)).at_size(24, 40)
    denoiser = EpsDenoiser(model.load("unet"), "epsilon", model.image_size())
    assert denoiser.time_ids.tolist() == [[24, 40, 0, 0, 24, 40]]
