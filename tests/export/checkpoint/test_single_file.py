"""A model in one file is the model in the folder that it was made of, or is refused with what to do."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import Checkpoint, find_baseline, find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.original import save_as_one_file
from tests.export.checkpoint.spoil import Tensors, edit
from tests.export.checkpoint.test_weights import assert_same_state
from tests.tiny_pipeline import save_pipeline


@pytest.fixture(scope="module")
def one_file(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_as_one_file(tiny_pipeline, tmp_path_factory.mktemp("file") / "dreams.safetensors")


def assert_same(found: Checkpoint, pipeline: Path) -> None:
    folder = find_checkpoint(str(pipeline))
    for part in folder.family.parts:
        assert_same_state(found.load(part), folder.load(part))
    assert found.schedule() == folder.schedule()
    assert found.zero_uncond() == folder.zero_uncond()


def test_a_model_of_stable_diffusion_1(tiny_pipeline: Path, one_file: Path) -> None:
    found = find_checkpoint(str(one_file), config=tiny_pipeline)
    assert_same(found, tiny_pipeline)
    assert found.id == "dreams"
    assert "dreams: one file of Stable Diffusion 1.x by the names of its weights; configured as" in found.remarks[0]
    assert found.digest != find_checkpoint(str(tiny_pipeline)).digest


def test_a_model_is_what_diffusers_makes_of_it(tiny_pipeline: Path, one_file: Path) -> None:
    pipeline = StableDiffusionPipeline.from_single_file(
        str(one_file), config=str(tiny_pipeline), local_files_only=True, safety_checker=None
    )
    found = find_checkpoint(str(one_file), config=tiny_pipeline)
    for part in ("unet", "text_encoder", "vae"):
        assert_same_state(found.load(part), getattr(pipeline, part))


def test_a_model_of_stable_diffusion_2(tmp_path: Path) -> None:
    pipeline = save_pipeline(tmp_path / "sd2", family="sd2")
    file = save_as_one_file(pipeline, tmp_path / "one.safetensors", encoder="open_clip")
    found = find_checkpoint(str(file), config=pipeline)
    assert_same(found, pipeline)
    assert "one file of Stable Diffusion 2.x by the names" in found.remarks[0]


def test_a_model_of_stable_diffusion_xl(tiny_xl_pipeline: Path, tmp_path: Path) -> None:
    file = save_as_one_file(tiny_xl_pipeline, tmp_path / "one.safetensors")
    found = find_checkpoint(str(file), config=tiny_xl_pipeline)
    assert_same(found, tiny_xl_pipeline)
    assert "one file of Stable Diffusion XL base by the names" in found.remarks[0]


@pytest.mark.parametrize("place", ["dreams", "."])
def test_configurations_beside_the_file_are_found(
    tiny_pipeline: Path, one_file: Path, tmp_path: Path, place: str
) -> None:
    shutil.copytree(tiny_pipeline, tmp_path / place, dirs_exist_ok=True)
    file = Path(shutil.copy(one_file, tmp_path / "dreams.safetensors"))
    assert_same(find_checkpoint(str(file)), tiny_pipeline)


def test_a_baseline_has_the_models_configurations(tiny_pipeline: Path, tiny_baseline: Path, tmp_path: Path) -> None:
    file = save_as_one_file(tiny_baseline, tmp_path / "early.safetensors")
    model = find_checkpoint(str(tiny_pipeline))
    early = find_baseline(str(file), model)
    assert_same_state(early.load("unet"), find_checkpoint(str(tiny_baseline)).load("unet"))
    assert early.has("text_encoder") and not early.has("tokenizer") and not early.has("scheduler")
    remarks = check_baseline(model, early)
    assert remarks == ["early has another vae than tiny-sd1: both are given the latents of tiny-sd1"]


def test_a_file_of_the_models_own_weights_is_no_baseline(tiny_pipeline: Path, one_file: Path) -> None:
    model = find_checkpoint(str(tiny_pipeline))
    with pytest.raises(ExportError, match=r"has the weights of .*, perhaps rounded"):
        check_baseline(model, find_baseline(str(one_file), model))


def without(start: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if not key.startswith(start)}


def plus(key: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, key: torch.zeros(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("model.diffusion_model.middle_block.0"),
            r"weights of the unet in .* tensors: \d+ missing \(mid_block",
        ),
        (without("first_stage_model"), r"holds no vae: it has no first_stage_model\.\*"),
        (without("cond_stage_model"), r"holds no text_encoder: it has no cond_stage_model\.transformer\.\* or "),
        (without("model.diffusion_model"), r"is no single file of Stable Diffusion 1\.x or .* or FLUX\.1: it has no"),
        (plus("model.diffusion_model.extra.weight"), r"has 209 tensors, of which its configuration explains 208: give"),
        (plus("joint.weight"), r"has 1 keys that memscan does not know and may not ignore \(joint\.weight\)$"),
        (plus("v_pred"), r"is marked v_pred, but .*scheduler predicts epsilon: give by --config a folder whose"),
        (plus("ztsnr"), r"is marked ztsnr, but .*scheduler has no zero terminal SNR: give by --config a folder whose"),
        (plus("conditioner.embedders.0.model.x"), r"has only the second of two text encoders \(a refiner\?\)"),
        (lambda _: {"lora_unet_x.alpha": torch.zeros(1)}, r"holds adapters and no model: give it by --lora, and the"),
        (lambda _: {"down_blocks.0.x": torch.zeros(1)}, r"holds one part of a model under diffusers' names: give the"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_whole_is_refused(
    tiny_pipeline: Path, one_file: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    file = tmp_path / "other.safetensors"
    save_file(change(load_file(one_file)), file)
    with pytest.raises(ExportError, match=message):
        find_checkpoint(str(file), config=tiny_pipeline)


def test_a_mark_that_agrees_with_the_scheduler_is_taken(copy: Path, one_file: Path, tmp_path: Path) -> None:
    edit(copy / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    file = tmp_path / "v.safetensors"
    save_file(plus("v_pred")(load_file(one_file)), file)
    assert find_checkpoint(str(file), config=copy).prediction_type() == "v_prediction"


def test_values_that_are_not_finite_are_named(tiny_pipeline: Path, one_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    tensors = load_file(one_file)
    tensors["first_stage_model.decoder.conv_in.bias"][0] = float("nan")
    save_file(tensors, file)
    with pytest.raises(ExportError, match=r"^vae in .*other\.safetensors has NaN .*, in decoder\.conv_in\.bias: "):
        find_checkpoint(str(file), config=tiny_pipeline)


def test_a_file_alone_is_read_by_the_public_models_configuration(one_file: Path) -> None:
    """Which a tiny model does not fit: 686 tensors are those of Stable Diffusion 1.x at full size."""
    with pytest.raises(ExportError, match=r"weights of the unet in .* do not match its configuration, 686 tensors: "):
        find_checkpoint(str(one_file))


def test_configurations_are_for_single_files_only(tiny_pipeline: Path) -> None:
    with pytest.raises(ExportError, match=r"is no single file, and has configurations of its own: leave out --config"):
        find_checkpoint(str(tiny_pipeline), config=tiny_pipeline)


def test_a_pickle_is_refused_with_the_command_that_converts_it(
    tiny_pipeline: Path, one_file: Path, tmp_path: Path
) -> None:
    pickle = tmp_path / "it's a model.ckpt"
    torch.save({"state_dict": load_file(one_file), "epoch": 3}, pickle)
    with pytest.raises(ExportError, match=r"is a pickle, which may run code") as raised:
        find_checkpoint(str(pickle), config=tiny_pipeline)
    command = re.search(r"without running any: (python .*)$", str(raised.value))
    assert command is not None
    program, *arguments = shlex.split(command[1])
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert_same(find_checkpoint(str(pickle.with_suffix(".safetensors")), config=tiny_pipeline), tiny_pipeline)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ExportError, match=r"model\.gguf is no checkpoint: give a folder, or a file of safetensors$"):
        find_checkpoint(str(tmp_path / "model.gguf"))


def test_a_link_that_leads_nowhere_is_an_unfinished_download(tmp_path: Path) -> None:
    (tmp_path / "dreams.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ExportError, match=r"unfinished download of .*dreams\.safetensors: its link leads nowhere"):
        find_checkpoint(str(tmp_path / "dreams.safetensors"))


def test_another_vae_takes_the_place_of_the_models(tiny_pipeline: Path, tiny_baseline: Path) -> None:
    """Given as its own folder or as a checkpoint that has it; nothing else is taken from there."""
    plain = find_checkpoint(str(tiny_pipeline))
    for vae in (tiny_baseline, tiny_baseline / "vae"):
        found = find_checkpoint(str(tiny_pipeline), vae=vae)
        assert_same_state(found.load("vae"), find_checkpoint(str(tiny_baseline)).load("vae"))
        assert_same_state(found.load("unet"), plain.load("unet"))
        assert found.digest != plain.digest
        assert found.remarks == (f"tiny-sd1: vae: that of {tiny_baseline / 'vae'}",)


def test_another_vae_completes_a_file_that_has_none(
    tiny_pipeline: Path, tiny_baseline: Path, one_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "no-vae.safetensors"
    save_file(without("first_stage_model")(load_file(one_file)), file)
    found = find_checkpoint(str(file), config=tiny_pipeline, vae=tiny_baseline)
    assert_same_state(found.load("vae"), find_checkpoint(str(tiny_baseline)).load("vae"))


def test_a_vae_that_is_none_is_refused(tiny_pipeline: Path) -> None:
    with pytest.raises(
        ExportError, match=r"unet holds a UNet2DConditionModel; memscan exports checkpoints whose vae is"
    ):
        find_checkpoint(str(tiny_pipeline), vae=tiny_pipeline / "unet")
