"""Adapters of SD 3's and FLUX.1's transformers, under diffusers' names and those of the original code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from safetensors.torch import load_file, save_file

from memscan.export.checkpoint.adapter import read_adapter
from memscan.export.checkpoint.adapter_places import adapter_places
from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.original_transformers import original_rows
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import Tensors
from tests.export.checkpoint.test_adapter import ALPHA, RANK, factors, product

NAMES: dict[str, Callable[[str], str]] = {
    "diffusers": lambda module: f"transformer.{module}",
    "bare": lambda module: module,
    "kohya": lambda module: f"lora_transformer_{module.replace('.', '_')}",
}


def adapter(names: Callable[[str], str], modules: dict[str, torch.Size], *, alpha: float | None) -> Tensors:
    """Factors of each module, kohya's with alpha."""
    tensors: Tensors = {}
    for seed, (module, shape) in enumerate(modules.items()):
        up, down = factors(*shape, seed=seed)
        kohya = names(module).startswith("lora_")
        tensors[f"{names(module)}.{'lora_up' if kohya else 'lora_B'}.weight"] = up
        tensors[f"{names(module)}.{'lora_down' if kohya else 'lora_A'}.weight"] = down
        if alpha is not None:
            tensors[f"{names(module)}.alpha"] = torch.tensor(alpha)
    return tensors


def stored(pipeline: Path) -> Tensors:
    return load_file(pipeline / "transformer" / "diffusion_pytorch_model.safetensors")


def assert_fused(pipeline: Path, text: str, change: dict[str, torch.Tensor]) -> None:
    """The transformer is that of the folder plus `change`, by name of weight; all else is untouched."""
    fused = dict(find_checkpoint(str(pipeline)).with_adapters([text]).tensors("transformer"))
    base = stored(pipeline)
    assert fused.keys() == base.keys() and change.keys() <= base.keys()
    for name, weight in base.items():
        if name not in change:
            assert torch.equal(fused[name], weight), name
            continue
        # float32 of sums of three products about 1.
        torch.testing.assert_close(fused[name].double(), weight.double() + change[name], atol=3e-6, rtol=0)
        assert (fused[name] - weight).abs().max() > 0.01


@pytest.mark.parametrize("style", list(NAMES))
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_every_linear_layer_under_diffusers_names(
    family: str, style: str, tiny_sd3_pipeline: Path, tiny_flux_pipeline: Path, tmp_path: Path
) -> None:
    pipeline = {"sd3": tiny_sd3_pipeline, "flux": tiny_flux_pipeline}[family]
    linear = {name.removesuffix(".weight"): each.shape for name, each in stored(pipeline).items() if each.dim() == 2}
    file = tmp_path / "style.safetensors"
    alpha = ALPHA if style == "kohya" else None
    save_file(adapter(NAMES[style], linear, alpha=alpha), file)
    scale = 0.5 * (ALPHA / RANK if alpha else 1)
    change = {
        f"{module}.weight": scale * product(*factors(*shape, seed=seed))
        for seed, (module, shape) in enumerate(linear.items())
    }
    assert_fused(pipeline, f"{file}:0.5", change)


def test_the_alpha_that_diffusers_writes_into_the_file(tiny_flux_pipeline: Path, tmp_path: Path) -> None:
    module = "single_transformer_blocks.0.proj_mlp"
    shape = stored(tiny_flux_pipeline)[f"{module}.weight"].shape
    said = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": ALPHA, "transformer.r": RANK})}
    file = tmp_path / "style.safetensors"
    save_file(adapter(NAMES["diffusers"], {module: shape}, alpha=None), file, metadata=said)
    assert_fused(tiny_flux_pipeline, str(file), {f"{module}.weight": ALPHA / RANK * product(*factors(*shape))})


@pytest.mark.parametrize("style", ["lora_unet_", "diffusion_model."])
@pytest.mark.parametrize(
    ("family", "original", "parts"),
    [
        ("flux", "double_blocks.0.img_attn.qkv", ["transformer_blocks.0.attn.to_" + each for each in "qkv"]),
        ("flux", "double_blocks.0.txt_attn.qkv", [f"transformer_blocks.0.attn.add_{each}_proj" for each in "qkv"]),
        ("flux", "double_blocks.0.txt_mlp.2", ["transformer_blocks.0.ff_context.net.2"]),
        (
            "flux",
            "single_blocks.0.linear1",
            [f"single_transformer_blocks.0.{each}" for each in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
        ),
        ("flux", "single_blocks.0.linear2", ["single_transformer_blocks.0.proj_out"]),
        ("sd3", "joint_blocks.1.x_block.attn.qkv", ["transformer_blocks.1.attn.to_" + each for each in "qkv"]),
        ("sd3", "joint_blocks.0.context_block.mlp.fc1", ["transformer_blocks.0.ff_context.net.0.proj"]),
    ],
)
def test_a_layer_of_the_original_code(
    style: str,
    family: str,
    original: str,
    parts: list[str],
    tiny_sd3_pipeline: Path,
    tiny_flux_pipeline: Path,
    tmp_path: Path,
) -> None:
    """Of the original layer's own alpha and rank, then put apart."""
    pipeline = {"sd3": tiny_sd3_pipeline, "flux": tiny_flux_pipeline}[family]
    weights = [stored(pipeline)[f"{part}.weight"] for part in parts]
    shape = torch.Size((sum(len(weight) for weight in weights), weights[0].shape[1]))

    def name(module: str) -> str:
        return f"{style}{module.replace('.', '_') if style == 'lora_unet_' else module}"

    file = tmp_path / "style.safetensors"
    save_file(adapter(name, {original: shape}, alpha=ALPHA), file)
    whole = ALPHA / RANK * product(*factors(*shape))
    changes = torch.split(whole, [len(weight) for weight in weights])
    assert_fused(pipeline, str(file), {f"{part}.weight": each for part, each in zip(parts, changes, strict=True)})


@pytest.mark.parametrize(
    ("family", "original", "part"),
    [
        ("flux", "final_layer_adaLN_modulation_1", "norm_out.linear"),
        ("sd3", "joint_blocks_1_context_block_adaLN_modulation_1", "transformer_blocks.1.norm1_context.linear"),
    ],
)
def test_the_last_norm_has_the_shift_first_in_the_original_code(
    family: str, original: str, part: str, tiny_sd3_pipeline: Path, tiny_flux_pipeline: Path, tmp_path: Path
) -> None:
    pipeline = {"sd3": tiny_sd3_pipeline, "flux": tiny_flux_pipeline}[family]
    shape = stored(pipeline)[f"{part}.weight"].shape
    file = tmp_path / "style.safetensors"
    save_file(adapter(lambda module: f"lora_unet_{module}", {original: shape}, alpha=None), file)
    shift, scale = product(*factors(*shape)).chunk(2)
    assert_fused(pipeline, str(file), {f"{part}.weight": torch.cat([scale, shift])})


def test_kohyas_names_are_what_diffusers_makes_of_them(tmp_path: Path) -> None:
    """At the published widths, the only ones that its conversion knows; of two columns each."""
    with torch.device("meta"):
        module = FluxTransformer2DModel(num_layers=1, num_single_layers=1)
    shapes = {name: (len(tensor), *(2 for _ in tensor.shape[1:])) for name, tensor in module.state_dict().items()}
    rows = original_rows("FluxTransformer2DModel", shapes)
    layers: dict[str, int] = {}
    for name, each in rows.items():
        if len(shapes[name]) == 2 and "_blocks." in name:
            layers[each.name.removesuffix(".weight")] = (
                layers.get(each.name.removesuffix(".weight"), 0) + shapes[name][0]
            )
    linear = {layer: torch.Size((count, 2)) for layer, count in layers.items()}
    tensors = adapter(lambda layer: f"lora_unet_{layer.replace('.', '_')}", linear, alpha=ALPHA)
    file = tmp_path / "style.safetensors"
    save_file(tensors, file)
    converted = _convert_kohya_flux_lora_to_diffusers(dict(tensors))
    found = read_adapter(str(file), adapter_places({"transformer": shapes}, 2, "FluxTransformer2DModel"))
    assert 2 * len(found.updates) == len(converted)
    for (part, name), update in found.updates.items():
        down, up = (converted[f"{part}.{name.removesuffix('.weight')}.lora_{each}.weight"] for each in "AB")
        # float32 of sums of three products about 1; diffusers multiplies alpha into a factor.
        torch.testing.assert_close(update.factor * (update.up @ update.down), up @ down, atol=3e-6, rtol=0)


@pytest.mark.parametrize(
    ("part", "name", "module"),
    [
        ("text_encoder", "lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_model.encoder.layers.0.mlp.fc1"),
        (
            "text_encoder_2",
            "lora_te3_encoder_block_1_layer_0_SelfAttention_q",
            "encoder.block.1.layer.0.SelfAttention.q",
        ),
        (
            "text_encoder_2",
            "text_encoder_2.encoder.block.0.layer.0.SelfAttention.v",
            "encoder.block.0.layer.0.SelfAttention.v",
        ),
    ],
)
def test_text_encoders(part: str, name: str, module: str, tiny_flux_pipeline: Path, tmp_path: Path) -> None:
    plain = find_checkpoint(str(tiny_flux_pipeline))
    base = dict(plain.tensors(part))
    weight = next(each for each in base if each.endswith(f"{module.removeprefix('text_model.')}.weight"))
    file = tmp_path / "style.safetensors"
    save_file(adapter(lambda _: name, {module: base[weight].shape}, alpha=None), file)
    found = plain.with_adapters([str(file)])
    for each, tensor in found.tensors(part):
        change = product(*factors(*tensor.shape)) if each == weight else 0
        torch.testing.assert_close(tensor.double(), base[each].double() + change, atol=3e-6, rtol=0)
    assert found.remarks[-1].endswith(f"style added to 1 weights of {part}")


def test_the_model_without_its_adapters_is_a_baseline(tiny_sd3_pipeline: Path, tmp_path: Path) -> None:
    shape = stored(tiny_sd3_pipeline)["transformer_blocks.0.attn.to_q.weight"].shape
    file = tmp_path / "style.safetensors"
    save_file(adapter(NAMES["diffusers"], {"transformer_blocks.0.attn.to_q": shape}, alpha=None), file)
    base = find_checkpoint(str(tiny_sd3_pipeline))
    model = base.with_adapters([f"{file}:2"])
    assert check_baseline(model, base) == []
    assert model.digest != base.digest and model.id == f"{base.id}+style:2"
    assert model.remarks[-1] == f"{base.id}: style:2 added to 1 weights of transformer"


def doubled(tensors: Tensors) -> Tensors:
    module = "transformer.transformer_blocks.0.attn.to_k"
    return {**tensors, f"{module}.lora_B.weight": torch.ones(32, 1), f"{module}.lora_A.weight": torch.ones(1, 32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (doubled, r"has two adapters of transformer\.transformer_blocks\.0\.attn\.to_k\.weight: .* is the second"),
        (
            lambda tensors: {**tensors, "lora_unet_double_blocks_9_img_mlp_0.alpha": torch.ones(())},
            r"1 keys of 3 that fit no weight of this checkpoint \(lora_unet_double_blocks_9_img_mlp_0\.alpha\): it was",
        ),
        (
            lambda tensors: {key: tensor[:48] for key, tensor in tensors.items()},
            r"the factors \[48, 3\] and \[3, 32\], but its weight is \[96, 32\]: it was made for another model",
        ),
        (
            lambda tensors: {key: tensor for key, tensor in tensors.items() if "up" in key},
            r"lacks one of the two factors of lora_unet_double_blocks_0_img_attn_qkv; download it again",
        ),
        (
            lambda tensors: {**tensors, "lora_unet_double_blocks_0_img_attn_qkv.dora_scale": torch.ones(96, 1)},
            r"holds a DoRA \(dora_scale\), which memscan cannot fuse",
        ),
    ],
    ids=["twice", "deeper", "narrower", "lone", "dora"],
)
def test_whatever_is_not_understood_is_named(
    tiny_flux_pipeline: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    file = tmp_path / "style.safetensors"
    tensors = adapter(lambda _: "lora_unet_double_blocks_0_img_attn_qkv", {"": torch.Size((96, 32))}, alpha=None)
    save_file({key: tensor.contiguous() for key, tensor in change(tensors).items()}, file)
    with pytest.raises(ExportError, match=message):
        find_checkpoint(str(tiny_flux_pipeline)).with_adapters([str(file)])


def test_adapters_of_one_transformer_do_not_fit_the_other(
    tiny_sd3_pipeline: Path, tiny_flux_pipeline: Path, tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    save_file(adapter(lambda _: "lora_unet_double_blocks_0_img_attn_qkv", {"": torch.Size((96, 32))}, alpha=None), file)
    with pytest.raises(ExportError, match=r"2 keys of 2 that fit no weight of this checkpoint .*another model"):
        find_checkpoint(str(tiny_sd3_pipeline)).with_adapters([str(file)])
