"""Weights match their configuration or are refused; what is mended is mended to the values that were saved."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from transformers import CLIPTextModel

from memscan.export.checkpoint.checkpoint import Checkpoint, find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import Tensors, edit, renamed, rewrite

PARTS = ("unet", "text_encoder", "vae")


def find(folder: Path) -> Checkpoint:
    return find_checkpoint(str(folder))


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    state, other_state = one.state_dict(), other.state_dict()
    assert state.keys() == other_state.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, other_state[name]), name


def first(tensors: Tensors) -> str:
    return min(tensors)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_loaded_as_its_library_does(tiny_pipeline: Path, part: str) -> None:
    checkpoint = find(tiny_pipeline)
    loaded = checkpoint.load(part)
    assert_same_state(loaded, checkpoint.family.parts[part].from_pretrained(tiny_pipeline / part))
    assert not loaded.training
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in loaded.parameters())
    assert not any(buffer.is_meta for buffer in loaded.buffers())


@pytest.mark.parametrize("part", [*PARTS, "text_encoder_2"])
def test_a_missing_tensor_is_named_with_its_part(xl_copy: Path, part: str) -> None:
    (lost,) = {first(load_file(file)) for file in (xl_copy / part).glob("*.safetensors")}
    rewrite(xl_copy / part, lambda tensors: {key: value for key, value in tensors.items() if key != lost})
    with pytest.raises(ExportError, match=rf"/{part} \(.*safetensors\) do not match .*: 1 missing \(.*{lost}\)$"):
        find(xl_copy)


@pytest.mark.parametrize("part", PARTS)
def test_an_unexpected_tensor_is_named_with_its_part(copy: Path, part: str) -> None:
    rewrite(copy / part, lambda tensors: {**tensors, "extra.weight": torch.zeros(2)})
    with pytest.raises(ExportError, match=rf"/{part} \(.*1 unexpected \(extra.weight\)"):
        find(copy)


@pytest.mark.parametrize("part", PARTS)
def test_a_tensor_of_another_shape_is_named_with_both_shapes(copy: Path, part: str) -> None:
    def reshape(tensors: Tensors) -> Tensors:
        return {**tensors, first(tensors): torch.zeros(3, 5)}

    rewrite(copy / part, reshape)
    with pytest.raises(ExportError, match=rf"/{part} \(.*1 of another shape \(\S+ is \[3, 5\], not \["):
        find(copy)


def test_many_missing_tensors_are_counted_and_a_few_named(copy: Path) -> None:
    rewrite(copy / "text_encoder", lambda tensors: {first(tensors): tensors[first(tensors)]})
    with pytest.raises(ExportError, match=r"35 missing \([^()]+ and 31 more\)$"):
        find(copy)


def test_integers_are_no_weights(copy: Path) -> None:
    rewrite(copy / "unet", lambda tensors: {**tensors, "conv_in.bias": torch.zeros(16, dtype=torch.int8)})
    with pytest.raises(ExportError, match=r"1 not floating-point \(conv_in.bias is I8\)"):
        find(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", PARTS)
def test_values_that_are_not_finite_are_named(copy: Path, part: str, value: float) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        tensors[max(tensors)].view(-1)[-1] = value
        return tensors

    name = max(load_file(next((copy / part).glob("*.safetensors"))))
    rewrite(copy / part, spoil)
    with pytest.raises(ExportError, match=rf"/{part} has NaN or infinite weights, in {name}: "):
        find(copy)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("part", PARTS)
def test_prefixes_of_wrappers_are_stripped_and_said(copy: Path, tiny_pipeline: Path, part: str, prefix: str) -> None:
    rewrite(copy / part, lambda tensors: {prefix + key: value for key, value in tensors.items()})
    checkpoint = find(copy)
    assert_same_state(checkpoint.load(part), find(tiny_pipeline).load(part))
    (remark,) = checkpoint.remarks
    assert remark.startswith(f"copy: {copy / part}: stripped ")
    assert all(f"{step}." in remark for step in prefix.rstrip(".").split("."))


def test_a_compiled_block_is_unwrapped_too(copy: Path, tiny_pipeline: Path) -> None:
    rewrite(copy / "unet", renamed("mid_block.", "mid_block._orig_mod."))
    assert_same_state(find(copy).load("unet"), find(tiny_pipeline).load("unet"))


def test_two_tensors_for_one_name_are_refused(copy: Path) -> None:
    rewrite(copy / "unet", lambda tensors: {**tensors, "module.conv_in.bias": tensors["conv_in.bias"].clone()})
    with pytest.raises(ExportError, match=r"two tensors for conv_in.bias: conv_in.bias and module.conv_in.bias"):
        find(copy)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("sign", [".base_layer.weight", ".lora_A.default.weight"])
def test_adapters_that_are_still_loaded_are_refused(copy: Path, part: str, sign: str) -> None:
    rewrite(copy / part, lambda tensors: {f"x{sign}": torch.zeros(1), **tensors})
    with pytest.raises(ExportError, match=rf"/{part} .*still has adapters loaded, such as x{sign}, and nothing tells"):
        find(copy)


def test_an_adapter_beside_the_weights_is_refused(copy: Path) -> None:
    (copy / "text_encoder" / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"text_encoder holds an adapter \(adapter_config.json\)"):
        find(copy)


def test_legacy_names_of_attention_are_read_as_diffusers_reads_them(copy: Path) -> None:
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for new, old in names.items():
        rewrite(copy / "vae", renamed(new, old))
    assert any(".proj_attn." in key for key in load_file(copy / "vae" / "diffusion_pytorch_model.safetensors"))
    assert_same_state(find(copy).load("vae"), AutoencoderKL.from_pretrained(copy / "vae"))


def test_a_text_encoder_of_either_age_of_transformers_is_read(copy: Path, tiny_pipeline: Path) -> None:
    """With and without `text_model.`, and with the position ids that transformers stored before 4.31."""

    def old(tensors: Tensors) -> Tensors:
        bare = {key.removeprefix("text_model."): value for key, value in tensors.items()}
        return {f"text_model.{key}": value for key, value in bare.items()} | {
            "text_model.embeddings.position_ids": torch.arange(20)[None]
        }

    rewrite(copy / "text_encoder", old)
    assert_same_state(find(copy).load("text_encoder"), CLIPTextModel.from_pretrained(tiny_pipeline / "text_encoder"))
    rewrite(copy / "text_encoder", renamed("text_model.", ""))
    assert_same_state(find(copy).load("text_encoder"), CLIPTextModel.from_pretrained(tiny_pipeline / "text_encoder"))


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_float32_weights_are_not_rounded_because_a_configuration_says_float16(
    copy: Path, tiny_pipeline: Path, key: str
) -> None:
    edit(copy / "text_encoder" / "config.json", **{"dtype": "float16", key: "float16"})
    loaded = find(copy).load("text_encoder")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_same_state(loaded, find(tiny_pipeline).load("text_encoder"))


def test_float16_weights_are_computed_with_in_float32(copy: Path) -> None:
    rewrite(copy / "unet", lambda tensors: {key: value.half() for key, value in tensors.items()})
    saved = load_file(copy / "unet" / "diffusion_pytorch_model.safetensors")
    for name, value in find(copy).load("unet").state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, saved[name].float()), name


def test_a_configuration_of_values_of_a_wrong_type_is_one_line(copy: Path) -> None:
    edit(copy / "unet" / "config.json", block_out_channels="many")
    with pytest.raises(ExportError, match=r"unet cannot be built by its config.json: [^\n]+$"):
        find(copy)
