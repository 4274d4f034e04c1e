"""SD 3 or FLUX.1 in one file is the model in the folder that it was made of, or is refused with what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import find_baseline, find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.original_transformer import save_as_one_transformer_file
from tests.export.checkpoint.spoil import Tensors
from tests.export.checkpoint.test_single_file import assert_same, plus, without
from tests.export.checkpoint.test_weights import assert_same_state
from tests.tiny_transformers import save_flux, save_sd3

FAMILIES = ("sd3", "flux")
TITLES = {"sd3": "Stable Diffusion 3", "flux": "FLUX.1"}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {"sd3": save_sd3(folder / "sd3", projected=False), "flux": save_flux(folder / "flux")}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def without_weights(pipeline: Path, folder: Path, *parts: str) -> Path:
    """A copy of the pipeline that has only the configurations of `parts`."""
    shutil.copytree(pipeline, folder)
    for part in parts:
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
    return folder


@pytest.mark.parametrize(("prefix", "vae"), [("model.diffusion_model.", "first_stage_model."), ("", "vae.")])
def test_a_file_with_all_parts(pipelines: dict[str, Path], family: str, tmp_path: Path, prefix: str, vae: str) -> None:
    """Beside configurations without weights, so that all are the file's."""
    pipeline = pipelines[family]
    file = save_as_one_transformer_file(pipeline, tmp_path / "one.safetensors", family, prefix=prefix, vae=vae)
    every = "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"
    config = without_weights(pipeline, tmp_path / "config", *every)
    found = find_checkpoint(str(file), config=config)
    assert_same(found, pipeline)
    assert f"one: one file of {TITLES[family]} by the names of its weights; configured as" in found.remarks[0]
    assert "read from" not in " ".join(found.remarks)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_a_transformer_alone_is_completed_by_the_folder(
    pipelines: dict[str, Path], family: str, tmp_path: Path, prefix: str
) -> None:
    pipeline = pipelines[family]
    file = save_as_one_transformer_file(pipeline, tmp_path / "dev.safetensors", family, prefix=prefix, parts=())
    shutil.copytree(pipeline, tmp_path / "dev")
    found = find_checkpoint(str(file))
    assert_same(found, pipeline)
    assert any("vae: read from" in remark and "for the file has none" in remark for remark in found.remarks)
    other = (
        save_sd3(tmp_path / "other", projected=False, seed=1)
        if family == "sd3"
        else save_flux(tmp_path / "other", seed=1)
    )
    assert find_checkpoint(str(file), config=other).digest != found.digest


def test_a_file_without_t5(tmp_path: Path) -> None:
    pipeline = save_sd3(tmp_path / "sd3", t5=False, projected=False)
    file = save_as_one_transformer_file(pipeline, tmp_path / "incl_clips.safetensors", "sd3")
    found = find_checkpoint(str(file), config=pipeline)
    assert_same(found, pipeline)
    assert any("without text_encoder_3" in remark for remark in found.remarks)


def test_a_baseline_in_one_file(pipelines: dict[str, Path], family: str, tmp_path: Path) -> None:
    save = {
        "sd3": lambda folder: save_sd3(folder, projected=False, seed=1),
        "flux": lambda folder: save_flux(folder, seed=1),
    }
    early = save[family](tmp_path / "early")
    file = save_as_one_transformer_file(early, tmp_path / "early.safetensors", family, parts=())
    model = find_checkpoint(str(pipelines[family]))
    baseline = find_baseline(str(file), model)
    assert_same_state(baseline.load("transformer"), find_checkpoint(str(early)).load("transformer"))
    assert baseline.has("transformer") and not baseline.has("text_encoder") and not baseline.has("vae")
    assert check_baseline(model, baseline) == []


def test_the_models_own_file_is_no_baseline(pipelines: dict[str, Path], family: str, tmp_path: Path) -> None:
    file = save_as_one_transformer_file(pipelines[family], tmp_path / "same.safetensors", family, parts=())
    model = find_checkpoint(str(pipelines[family]))
    with pytest.raises(ExportError, match=r"has the weights of .*, perhaps rounded"):
        check_baseline(model, find_baseline(str(file), model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("double_blocks.0.img_mlp.2"),
            r"weights of the transformer in .*: 2 missing \(transformer_blocks\.0\.ff",
        ),
        (
            plus("double_blocks.7.img_mlp.2.bias"),
            r"has 1 tensors that its configuration does not explain \(double_block",
        ),
        (
            plus("scaled_fp8"),
            r"has 1 tensors that its configuration does not explain \(scaled_fp8\): give the folder of",
        ),
        (
            lambda tensors: {**tensors, "img_in.bias": torch.zeros(3)},
            r"1 of another shape \(x_embedder\.bias is \[3\], not \[32\]\)",
        ),
        (
            plus("vae.encoder.extra"),
            r"weights of the vae in .* do not match its configuration, \d+ tensors: \d+ missing",
        ),
    ],
    ids=lambda value: "" if callable(value) else value,
)
def test_a_file_that_its_configuration_does_not_explain_is_refused(
    pipelines: dict[str, Path], tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    file = save_as_one_transformer_file(pipelines["flux"], tmp_path / "one.safetensors", "flux", prefix="", parts=())
    save_file(change(load_file(file)), file)
    with pytest.raises(ExportError, match=message):
        find_checkpoint(str(file), config=pipelines["flux"])


def test_a_part_that_is_nowhere_is_named(pipelines: dict[str, Path], tmp_path: Path) -> None:
    pipeline = pipelines["sd3"]
    config = without_weights(pipeline, tmp_path / "config", "vae", "text_encoder_3")
    file = save_as_one_transformer_file(pipeline, tmp_path / "one.safetensors", "sd3", parts=("text_encoder_3",))
    with pytest.raises(ExportError, match=r"holds no vae, and .*vae has no weights of it: put them .*, or give its fo"):
        find_checkpoint(str(file), config=config)
    found = find_checkpoint(str(file), config=config, vae=pipeline / "vae")
    assert_same_state(found.load("vae"), find_checkpoint(str(pipeline)).load("vae"))
    save_as_one_transformer_file(pipeline, file, "sd3", parts=("vae",))
    with pytest.raises(
        ExportError, match=r"holds no text_encoder_3, and .*, or give by --config a folder without text"
    ):
        find_checkpoint(str(file), config=config)


def test_a_part_that_nothing_configures_is_named(pipelines: dict[str, Path], tmp_path: Path) -> None:
    config = save_sd3(tmp_path / "without", t5=False, projected=False)
    file = save_as_one_transformer_file(pipelines["sd3"], tmp_path / "one.safetensors", "sd3")
    with pytest.raises(
        ExportError, match=r"holds text_encoder_3, which .*without does not configure: give by --config"
    ):
        find_checkpoint(str(file), config=config)


def test_a_folder_of_another_family_is_refused(pipelines: dict[str, Path], tiny_pipeline: Path, tmp_path: Path) -> None:
    file = save_as_one_transformer_file(pipelines["flux"], tmp_path / "one.safetensors", "flux", parts=())
    for config in (pipelines["sd3"], tiny_pipeline):
        with pytest.raises(
            ExportError, match=r"is one file of FLUX\.1 by the names of its weights, but .* is of Stable"
        ):
            find_checkpoint(str(file), config=config)


def test_a_file_alone_asks_for_configurations(pipelines: dict[str, Path], family: str, tmp_path: Path) -> None:
    file = save_as_one_transformer_file(pipelines[family], tmp_path / "one.safetensors", family, parts=())
    with pytest.raises(
        ExportError, match=r"is one file of .* which has no configurations and tokenizers: give by --co"
    ):
        find_checkpoint(str(file))
