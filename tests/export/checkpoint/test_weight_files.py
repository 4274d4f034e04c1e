"""Which file is read where there are several, where there are shards, and where a download was interrupted."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import WEIGHTS, rewrite, shard
from tests.export.checkpoint.test_weights import assert_same_state, find

STEM = {part: name.removesuffix(".safetensors") for part, name in WEIGHTS.items()}


def move(part: Path, name: str) -> None:
    (part / WEIGHTS[part.name]).rename(part / name)


def dangle(file: Path) -> None:
    """Make `file` a link to a blob that was never fetched."""
    file.unlink(missing_ok=True)
    file.symlink_to(file.parent / "blobs" / "0123")


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_shards_are_read_by_their_index(copy: Path, tiny_pipeline: Path, part: str) -> None:
    shard(copy / part, STEM[part])
    assert_same_state(find(copy).load(part), find(tiny_pipeline).load(part))


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_shards_of_a_variant_are_read_and_it_is_said(copy: Path, tiny_pipeline: Path, part: str) -> None:
    shard(copy / part, STEM[part], ".fp16")
    checkpoint = find(copy)
    assert_same_state(checkpoint.load(part), find(tiny_pipeline).load(part))
    assert checkpoint.remarks == (
        f"copy: {part}: read from {STEM[part]}.safetensors.index.fp16.json, for there is no {STEM[part]}.safetensors",
    )


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_missing_shard_is_named(copy: Path, part: str) -> None:
    _, second = shard(copy / part, STEM[part])
    second.unlink()
    with pytest.raises(ExportError, match=rf"/{part} lacks 1 of the 2 shards .*: {second.name}; download"):
        find(copy)


def test_a_shard_without_the_tensors_that_its_index_promises_is_refused(copy: Path) -> None:
    first, second = shard(copy / "unet", STEM["unet"])
    shutil.copy(first, second)
    with pytest.raises(ExportError, match="two tensors for "):
        find(copy)


def test_shards_without_an_index_are_refused(copy: Path) -> None:
    shard(copy / "unet", STEM["unet"])
    (copy / "unet" / f"{STEM['unet']}.safetensors.index.json").unlink()
    with pytest.raises(ExportError, match=r"unet has shards \(.*\), but not the index that lists them"):
        find(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ({"weight_map": {"a": "../vae/x.safetensors"}}, "outside its folder; do not trust"),
    ],
    ids=["nothing", "numbers", "elsewhere"],
)
def test_a_broken_index_is_one_line(copy: Path, content: object, message: str) -> None:
    shard(copy / "unet", STEM["unet"])
    (copy / "unet" / f"{STEM['unet']}.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(ExportError, match=message):
        find(copy)


def test_a_whole_file_beside_an_index_is_ambiguous(copy: Path) -> None:
    whole = copy / "unet" / WEIGHTS["unet"]
    content = whole.read_bytes()
    shard(copy / "unet", STEM["unet"])
    whole.write_bytes(content)
    with pytest.raises(ExportError, match=r"several sets of weights, .*\.safetensors and .*\.index\.json, which may"):
        find(copy)


def test_two_variants_and_nothing_else_are_ambiguous(copy: Path) -> None:
    move(copy / "unet", f"{STEM['unet']}.fp16.safetensors")
    shutil.copy(copy / "unet" / f"{STEM['unet']}.fp16.safetensors", copy / "unet" / f"{STEM['unet']}.ema.safetensors")
    with pytest.raises(ExportError, match=r"several sets of weights, \S+\.ema\.safetensors and \S+\.fp16\.safetensors"):
        find(copy)


def test_the_plain_file_is_read_where_there_are_variants(copy: Path, tiny_pipeline: Path) -> None:
    rewrite(copy / "unet", lambda tensors: {key: value + 1 for key, value in tensors.items()}, "other.safetensors")
    (copy / "unet" / "other.safetensors").rename(copy / "unet" / f"{STEM['unet']}.non_ema.safetensors")
    shutil.copy(tiny_pipeline / "unet" / WEIGHTS["unet"], copy / "unet")
    checkpoint = find(copy)
    assert_same_state(checkpoint.load("unet"), find(tiny_pipeline).load("unet"))
    assert checkpoint.remarks == ()
    assert checkpoint.digest == find(tiny_pipeline).digest


def test_rounded_weights_beside_a_pickle_are_read_and_it_is_said(copy: Path) -> None:
    move(copy / "unet", f"{STEM['unet']}.fp16.safetensors")
    torch.save({}, copy / "unet" / f"{STEM['unet']}.bin")
    assert find(copy).remarks == (
        f"copy: unet: read from {STEM['unet']}.fp16.safetensors, the rounded weights, and not from"
        f" {STEM['unet']}.bin, which is a pickle",
    )


@pytest.mark.parametrize("variant", ["ema", "non_ema"])
def test_other_weights_beside_a_pickle_are_ambiguous(copy: Path, variant: str) -> None:
    move(copy / "unet", f"{STEM['unet']}.{variant}.safetensors")
    torch.save({}, copy / "unet" / f"{STEM['unet']}.bin")
    with pytest.raises(ExportError, match=rf"holds \S+\.{variant}\.safetensors and \S+\.bin, which may differ"):
        find(copy)


def test_a_file_of_another_name_is_named(copy: Path) -> None:
    move(copy / "unet", "my-finetune.safetensors")
    with pytest.raises(ExportError, match=r"unet has no diffusion_pytorch_model.safetensors.*, but my-finetune\.saf"):
        find(copy)


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "vae/config.json",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
        "model_index.json",
    ],
)
def test_an_unfinished_download_of_a_file_that_is_needed_is_named(copy: Path, name: str) -> None:
    dangle(copy / name)
    with pytest.raises(ExportError, match=rf"^unfinished download of .*/{name}: its link leads nowhere; download"):
        find(copy)


def test_an_unfinished_shard_is_named(copy: Path) -> None:
    _, second = shard(copy / "unet", STEM["unet"])
    dangle(second)
    with pytest.raises(ExportError, match=rf"^unfinished download of .*/{second.name}: "):
        find(copy)


@pytest.mark.parametrize(
    "name",
    ["safety_checker/model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "image_encoder/config.json"],
)
def test_an_unfinished_download_of_what_is_not_needed_is_no_matter(copy: Path, tiny_pipeline: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    dangle(copy / name)
    assert find(copy).digest == find(tiny_pipeline).digest


def test_a_baseline_needs_its_denoiser_alone(copy: Path) -> None:
    dangle(copy / "vae" / WEIGHTS["vae"])
    assert find_checkpoint(str(copy), parts=("unet",)).id == "copy"
