"""What the options of `memscan export` make of a checkpoint, before anything is traced."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from memscan.export import assemble
from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.scanner.cli import invoke


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `export_bundle` is given, in its stead."""
    given: dict[str, Any] = {}

    def export_bundle(model: Checkpoint, out: Path, **options: Any) -> None:
        given.update(model=model, **options)

    monkeypatch.setattr(assemble, "export_bundle", export_bundle)
    return given


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    head, file = "lora_unet_conv_in", tmp_path / "style.safetensors"
    save_file({f"{head}.lora_up.weight": torch.ones(16, 1), f"{head}.lora_down.weight": torch.ones(1, 4, 3, 3)}, file)
    return file


def test_adapters_with_the_untouched_checkpoint_as_baseline(
    tiny_pipeline: Path, tmp_path: Path, lora: Path, exported: dict[str, Any]
) -> None:
    options = "--lora", str(lora), "--lora", f"{lora}:0.5", "--baseline-without-lora"
    assert invoke(["export", str(tiny_pipeline), str(tmp_path / "out"), *options]) == 0
    model, baseline = exported["model"], exported["baseline"]
    assert (model.id, baseline.id) == ("tiny-sd1+style+style:0.5", "tiny-sd1")
    name = "conv_in.weight"
    change = model.load("unet").state_dict()[name] - baseline.load("unet").state_dict()[name]
    torch.testing.assert_close(change, torch.full_like(change, 1.5), atol=1e-6, rtol=0)
    record = assemble.identity(model)
    assert record["adapters"] == [
        {"file": "style.safetensors", "digest": model.adapters[0].digest, "scale": scale} for scale in (1.0, 0.5)
    ]
    assert "adapters" not in assemble.identity(baseline)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline-without-lora"], "--baseline-without-lora needs --lora"),
        (
            ["--lora", "x", "--baseline-without-lora", "--baseline", "y"],
            "--baseline-without-lora contradict each other",
        ),
        (["--lora", "none.safetensors"], "no file none.safetensors: give adapters as FILE or FILE:SCALE"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    tiny_pipeline: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", str(tiny_pipeline), str(tmp_path / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
