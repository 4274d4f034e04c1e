"""A baseline belongs to its model, or what differs is named."""

import shutil
from pathlib import Path

import pytest

from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import Tensors, edit, rewrite
from tests.tiny_pipeline import save_pipeline


@pytest.fixture
def early(tiny_baseline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_baseline, tmp_path / "early"))


def check(model: Path, baseline: Path) -> list[str]:
    return check_baseline(find_checkpoint(str(model)), find_checkpoint(str(baseline), parts=("unet",)))


def halved(tensors: Tensors) -> Tensors:
    return {name: tensor.half() for name, tensor in tensors.items()}


def scaled(tensors: Tensors) -> Tensors:
    return {name: tensor * 1.01 for name, tensor in tensors.items()}


def test_a_less_trained_checkpoint_belongs(tiny_pipeline: Path, tiny_baseline: Path) -> None:
    (remark,) = check(tiny_pipeline, tiny_baseline)
    assert remark == "tiny-sd1-early has another vae than tiny-sd1: both are given the latents of tiny-sd1"


def test_a_denoiser_alone_belongs(tiny_pipeline: Path, early: Path) -> None:
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(early / part)
    (early / "model_index.json").unlink()
    assert check(tiny_pipeline, early) == []


def test_another_family_is_refused(tiny_pipeline: Path, tiny_xl_pipeline: Path) -> None:
    with pytest.raises(ExportError, match=r"another family, Stable Diffusion XL base, than .*1\.x and 2\.x: not the"):
        check(tiny_pipeline, tiny_xl_pipeline)


def test_another_architecture_is_refused_naming_what_differs(tiny_pipeline: Path, tmp_path: Path) -> None:
    other = save_pipeline(tmp_path / "sd2", family="sd2", text_width=48)
    expected = r"unet differs from .*cross_attention_dim 48, not 32; .*attention_head_dim \[2, 4\], not 2; use_linear_"
    with pytest.raises(ExportError, match=expected):
        check(tiny_pipeline, other)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("unet/config.json", "sample_size", 16),
        ("unet/config.json", "act_fn", "gelu"),
        ("unet/config.json", "freq_shift", 1),
        ("text_encoder/config.json", "hidden_act", "gelu"),
        ("text_encoder/config.json", "layer_norm_eps", 0.1),
        ("vae/config.json", "scaling_factor", 0.13),
    ],
)
def test_another_meaning_of_the_same_weights_is_refused(
    tiny_pipeline: Path, early: Path, file: str, key: str, value: object
) -> None:
    edit(early / file, **{key: value})
    with pytest.raises(ExportError, match=rf"differs from .* in {key} .*, not .*: not the same model"):
        check(tiny_pipeline, early)


def test_other_betas_are_refused(tiny_pipeline: Path, early: Path) -> None:
    edit(early / "scheduler" / "scheduler_config.json", beta_end=0.02)
    with pytest.raises(ExportError, match=r"scheduler has other noise than .*\(num_train_timesteps, betas or kind\)"):
        check(tiny_pipeline, early)


def test_another_sampler_with_the_same_betas_is_no_difference(tiny_pipeline: Path, early: Path) -> None:
    edit(early / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler", steps_offset=0)
    edit(early / "model_index.json", scheduler=["diffusers", "DDIMScheduler"])
    assert len(check(tiny_pipeline, early)) == 1


def test_another_prediction_type_is_said(tiny_pipeline: Path, early: Path) -> None:
    edit(early / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert check(tiny_pipeline, early)[0] == ("early predicts v_prediction, tiny-sd1 epsilon: both are exported as eps")


def test_the_model_itself_is_refused(tiny_pipeline: Path) -> None:
    with pytest.raises(ExportError, match=r"has the weights of .*tiny-sd1, perhaps rounded: a baseline is a less"):
        check(tiny_pipeline, tiny_pipeline)


def test_a_rounded_copy_of_the_model_is_refused(tiny_pipeline: Path, copy: Path) -> None:
    for part in ("unet", "text_encoder"):
        rewrite(copy / part, halved)
    for model, baseline in ((tiny_pipeline, copy), (copy, tiny_pipeline)):
        with pytest.raises(ExportError, match=r"has the weights of .*, perhaps rounded"):
            check(model, baseline)


def test_the_denoiser_of_the_model_alone_is_refused(tiny_pipeline: Path, copy: Path) -> None:
    shutil.rmtree(copy / "text_encoder")
    with pytest.raises(ExportError, match=r"has the weights of .*, perhaps rounded"):
        check(tiny_pipeline, copy)


def test_a_difference_in_the_text_encoder_alone_is_said(tiny_pipeline: Path, copy: Path) -> None:
    rewrite(copy / "text_encoder", scaled)
    assert check(tiny_pipeline, copy) == [
        "copy has the unet of tiny-sd1, and differs from it in the text encoder alone"
    ]


def test_a_baseline_s_unfinished_vae_is_no_matter(tiny_pipeline: Path, early: Path) -> None:
    weights = early / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to(early / "gone")
    assert len(check(tiny_pipeline, early)) == 1
