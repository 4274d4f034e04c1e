"""Adapters are added to the weights as W + scale * alpha / r * up @ down, in either naming, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from memscan.export.checkpoint.adapter import parse_adapter
from memscan.export.checkpoint.baseline import check_baseline
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import Tensors

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
PROJECTION = "down_blocks.0.attentions.0.proj_in"
TEXT = "encoder.layers.1.self_attn.q_proj"
RANK, ALPHA = 3, 2.0

Factors = tuple[torch.Tensor, torch.Tensor]


def factors(*shape: int, rank: int = RANK, seed: int = 0) -> Factors:
    """up [out, r] and down [r, in, ...] for a weight of `shape`; those of convolutions have 1 x 1 and its kernel."""
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator)
    return up, torch.randn(rank, *shape[1:], generator=generator)


def product(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """sum over r of up[o, r] down[r, i, ...], in float64: the closed form."""
    return torch.einsum("or,r...->o...", up.double().flatten(1), down.double())


def named_as(style: str, part: str, module: str, pair: Factors, alpha: float | None = None) -> Tensors:
    """The two factors as a trainer of that style writes them."""
    if style == "kohya":
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model."}[part]
        head = f"{prefix}{module}".replace(".", "_")
        up, down = f"{head}.lora_up.weight", f"{head}.lora_down.weight"
    else:
        head = f"{part}.{'text_model.' if part != 'unet' else ''}{module}"
        up, down = f"{head}.lora_B.weight", f"{head}.lora_A.weight"
        if style == "processors":
            attention, _, leaf = module.removesuffix(".0").rpartition(".")
            head = f"{part}.{attention}.processor.{leaf}_lora"
            up, down = f"{head}.up.weight", f"{head}.down.weight"
    tensors = {up: pair[0].contiguous(), down: pair[1].contiguous()}
    return tensors if alpha is None else {**tensors, f"{head}.alpha": torch.tensor(alpha)}


def assert_added(pipeline: Path, adapter: str, part: str, change: dict[str, torch.Tensor]) -> None:
    """The loaded part is diffusers' own plus `change`, by name of weight; all else is untouched."""
    cls = UNet2DConditionModel if part == "unet" else CLIPTextModel
    base = cls.from_pretrained(pipeline / part).state_dict()
    fused = find_checkpoint(str(pipeline)).with_adapters([adapter]).load(part).state_dict()
    for name, weight in base.items():
        if name not in change:
            assert torch.equal(fused[name], weight), name
            continue
        wanted = weight.double() + change[name].reshape(weight.shape)
        # float32 of sums of three products about 1.
        torch.testing.assert_close(fused[name].double(), wanted, atol=3e-6, rtol=0)
        assert (fused[name] - weight).abs().max() > 0.01


@pytest.mark.parametrize("style", ["kohya", "diffusers", "processors"])
@pytest.mark.parametrize("module", [f"{ATTENTION}.to_q", f"{ATTENTION}.to_out.0"])
def test_attention_of_the_denoiser_in_every_naming(
    tiny_pipeline: Path, tmp_path: Path, style: str, module: str
) -> None:
    shape = UNet2DConditionModel.from_pretrained(tiny_pipeline / "unet").state_dict()[f"{module}.weight"].shape
    pair = factors(*shape)
    file = tmp_path / "style.safetensors"
    save_file(named_as(style, "unet", module, pair), file)
    assert_added(tiny_pipeline, f"{file}:0.5", "unet", {f"{module}.weight": 0.5 * product(*pair)})


def test_alpha_over_rank_multiplies_and_convolutions_have_their_kernel(tiny_pipeline: Path, tmp_path: Path) -> None:
    """SD 1's projections are convolutions of 1 x 1; a LoCon has those of 3 x 3 too."""
    pairs = {CONVOLUTION: factors(16, 16, 3, 3), PROJECTION: factors(16, 16, 1, 1, seed=1)}
    file = tmp_path / "style.safetensors"
    tensors: Tensors = {}
    for module, pair in pairs.items():
        tensors |= named_as("kohya", "unet", module, pair, ALPHA)
    save_file(tensors, file)
    change = {f"{module}.weight": ALPHA / RANK * product(*pair) for module, pair in pairs.items()}
    assert_added(tiny_pipeline, str(file), "unet", change)


@pytest.mark.parametrize("style", ["kohya", "diffusers"])
def test_the_text_encoder_is_changed_where_the_file_says_so(tiny_pipeline: Path, tmp_path: Path, style: str) -> None:
    pair = factors(32, 32)
    file = tmp_path / "style.safetensors"
    save_file(named_as(style, "text_encoder", TEXT, pair), file)
    name = next(
        name
        for name in CLIPTextModel.from_pretrained(tiny_pipeline / "text_encoder").state_dict()
        if name.endswith(f"{TEXT}.weight")
    )
    assert_added(tiny_pipeline, str(file), "text_encoder", {name: product(*pair)})
    assert_added(tiny_pipeline, str(file), "unet", {})


def test_xl_files_number_the_blocks_as_the_original_code_does(tiny_xl_pipeline: Path, tmp_path: Path) -> None:
    """As kohya trains XL. With one layer a block: down_blocks.1 begins at input 3, up_blocks.0 at output 0."""
    unet = UNet2DConditionModel.from_pretrained(tiny_xl_pipeline / "unet").state_dict()
    spelled = {
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_k": (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"
        ),
        "lora_unet_middle_block_1_proj_in": "mid_block.attentions.0.proj_in",
        "lora_unet_output_blocks_0_1_transformer_blocks_0_ff_net_0_proj": (
            "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj"
        ),
        "lora_unet_output_blocks_1_2_conv": "up_blocks.0.upsamplers.0.conv",
        "lora_unet_input_blocks_2_0_op": "down_blocks.0.downsamplers.0.conv",
        "lora_unet_output_blocks_3_0_skip_connection": "up_blocks.1.resnets.1.conv_shortcut",
        "lora_unet_middle_block_2_emb_layers_1": "mid_block.resnets.1.time_emb_proj",
        "lora_unet_label_emb_0_2": "add_embedding.linear_2",
    }
    pairs = {head: factors(*unet[f"{module}.weight"].shape) for head, module in spelled.items()}
    second = factors(16, 16)
    tensors = {f"{head}.lora_up.weight": pair[0] for head, pair in pairs.items()}
    tensors |= {f"{head}.lora_down.weight": pair[1] for head, pair in pairs.items()}
    head = "lora_te2_text_model_encoder_layers_0_self_attn_out_proj"
    tensors |= {f"{head}.lora_up.weight": second[0], f"{head}.lora_down.weight": second[1]}
    file = tmp_path / "xl.safetensors"
    save_file(tensors, file)
    change = {f"{spelled[head]}.weight": product(*pair) for head, pair in pairs.items()}
    assert_added(tiny_xl_pipeline, str(file), "unet", change)
    adapted = find_checkpoint(str(tiny_xl_pipeline)).with_adapters([str(file)])
    base = find_checkpoint(str(tiny_xl_pipeline)).load("text_encoder_2").state_dict()
    name = "text_model.encoder.layers.0.self_attn.out_proj.weight"
    fused = adapted.load("text_encoder_2").state_dict()[name]
    torch.testing.assert_close(fused.double(), base[name] + product(*second), atol=3e-6, rtol=0)
    assert "8 weights of unet and 1 weights of text_encoder_2" in adapted.remarks[-1]


@pytest.mark.parametrize(
    ("metadata", "factor"),
    [
        ({"unet.lora_alpha": 6}, 6 / RANK),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, 6 / RANK**0.5),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn2.to_q": 9}}, 9 / RANK),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_q": 9}}, 6 / RANK),
        ({"text_encoder.lora_alpha": 6}, 1),
    ],
    ids=["alpha", "rank-stabilized", "pattern", "other-pattern", "other-part"],
)
def test_alpha_is_read_from_what_diffusers_writes_beside_the_tensors(
    tiny_pipeline: Path, tmp_path: Path, metadata: dict[str, object], factor: float
) -> None:
    pair, file = factors(16, 32), tmp_path / "style.safetensors"
    tensors = named_as("diffusers", "unet", f"{ATTENTION}.to_k", pair)
    query = factors(16, 16, seed=1)
    tensors |= named_as("diffusers", "unet", f"{ATTENTION}.to_q", query)
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(metadata)})
    whole = 1 if metadata.keys() == {"text_encoder.lora_alpha"} else 6 / RANK
    whole = factor if "unet.use_rslora" in metadata else whole
    change = {f"{ATTENTION}.to_k.weight": whole * product(*pair), f"{ATTENTION}.to_q.weight": factor * product(*query)}
    assert_added(tiny_pipeline, str(file), "unet", change)


def test_several_files_are_added_and_named_in_the_id_and_the_digest(tiny_pipeline: Path, tmp_path: Path) -> None:
    pairs = factors(16, 16), factors(16, 16, rank=5, seed=1)
    files = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for file, pair in zip(files, pairs, strict=True):
        save_file(named_as("kohya", "unet", f"{ATTENTION}.to_q", pair), file)
    base = find_checkpoint(str(tiny_pipeline))
    both = base.with_adapters([str(files[0]), f"{files[1]}:-2"])
    assert both.id == "tiny-sd1+one+two:-2"
    name = f"{ATTENTION}.to_q.weight"
    wanted = base.load("unet").state_dict()[name] + product(*pairs[0]) - 2 * product(*pairs[1])
    torch.testing.assert_close(both.load("unet").state_dict()[name].double(), wanted, atol=1e-5, rtol=0)
    scaled = base.with_adapters([str(files[0]), f"{files[1]}:-3"])
    assert len({base.digest, both.digest, scaled.digest, base.with_adapters([str(files[0])]).digest}) == 4
    assert base.with_adapters([]) is base


def test_the_checkpoint_without_its_adapters_is_a_baseline(tiny_pipeline: Path, tmp_path: Path) -> None:
    base = find_checkpoint(str(tiny_pipeline))
    file = tmp_path / "style.safetensors"
    save_file(named_as("kohya", "unet", f"{ATTENTION}.to_q", factors(16, 16)), file)
    assert check_baseline(base.with_adapters([str(file)]), base) == []
    with pytest.raises(ExportError, match=r"has the weights of .*, perhaps rounded"):
        check_baseline(base, base)


def unknown(tensors: Tensors) -> Tensors:
    return {**tensors, "lora_unet_down_blocks_9_conv.lora_up.weight": torch.zeros(2, 2)}


def lone(tensors: Tensors) -> Tensors:
    return {key: tensor for key, tensor in tensors.items() if ".lora_up." not in key}


def twice(tensors: Tensors) -> Tensors:
    return {**tensors, f"unet.{ATTENTION}.to_q.lora_A.weight": torch.zeros(3, 16)}


def wide(tensors: Tensors) -> Tensors:
    return {key: torch.zeros(3, 17) if ".lora_down." in key else tensor for key, tensor in tensors.items()}


def not_finite(tensors: Tensors) -> Tensors:
    return {key: tensor * float("nan") for key, tensor in tensors.items()}


def of_another_kind(leaf: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, f"lora_unet_mid_block_attentions_0_proj_in.{leaf}": torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown, r"1 keys of 3 that fit no weight of this checkpoint \(lora_unet_down_blocks_9_conv.lora_up.weight\)"),
        (lone, r"lacks one of the two factors of lora_unet_\w+attn2_to_q; download it again"),
        (twice, r"two tensors for one factor of unet\.\S+attn2\.to_q\.weight: unet\."),
        (wide, r"the factors \[16, 3\] and \[3, 17\], but its weight is \[16, 16\]: it was made for another model"),
        (not_finite, r"has NaN or infinite values, in lora_unet_\w+\.lora_down\.weight, "),
        (lambda _: {"lora_unet_conv_in.alpha": torch.zeros(())}, r"lacks one of the two factors of lora_unet_conv_in"),
        (lambda _: {}, r"holds no adapters"),
        (of_another_kind("dora_scale"), r"holds a DoRA \(dora_scale\), which memscan cannot fuse"),
        (of_another_kind("lora_mid.weight"), r"holds a LoCon with a core \(lora_mid\), which memscan cannot fuse"),
        (of_another_kind("hada_w1_a"), r"holds a LoHa \(hada_w1_a\), which memscan cannot fuse"),
        (of_another_kind("lokr_w1"), r"holds a LoKr \(lokr_w1\), which memscan cannot fuse"),
        (of_another_kind("diff"), r"holds a difference of full rank \(diff\), which memscan cannot fuse"),
        (of_another_kind("lora_B.bias"), r"1 keys of 3 that fit no weight .*lora_B\.bias"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_whatever_is_not_understood_is_named(
    tiny_pipeline: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    file = tmp_path / "style.safetensors"
    save_file(change(named_as("kohya", "unet", f"{ATTENTION}.to_q", factors(16, 16))), file)
    with pytest.raises(ExportError, match=message):
        find_checkpoint(str(tiny_pipeline)).with_adapters([str(file)])


def test_a_file_for_another_family_is_refused(tiny_pipeline: Path, tmp_path: Path) -> None:
    file = tmp_path / "xl.safetensors"
    save_file({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ExportError, match=r"1 keys of 1 that fit no weight of this checkpoint .*another model"):
        find_checkpoint(str(tiny_pipeline)).with_adapters([str(file)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none.safetensors", r"^no file none\.safetensors: give adapters as FILE or FILE:SCALE$"),
        ("none.safetensors:much", r"^no file none\.safetensors:much, and 'much' is no scale"),
        ("one.safetensors:0", r"^the scale of one\.safetensors is 0: it must be a finite number other than 0$"),
        ("one.safetensors:nan", r"^the scale of one\.safetensors is nan"),
        ("one.ckpt", r"^one\.ckpt is no file of safetensors: memscan reads adapters from \.safetensors only$"),
        ("empty", r"^empty must hold one file of safetensors to be read as adapters; it holds none$"),
        ("link.safetensors", r"^unfinished download of link\.safetensors: its link leads nowhere"),
    ],
)
def test_a_file_and_its_scale_are_read_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.safetensors", "one.ckpt"):
        Path(name).touch()
    Path("empty").mkdir()
    Path("link.safetensors").symlink_to("nowhere")
    with pytest.raises(ExportError, match=message):
        parse_adapter(text)


def test_a_name_with_a_colon_and_a_folder_of_one_file_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:1.safetensors").touch()
    Path("folder").mkdir()
    Path("folder/pytorch_lora_weights.safetensors").touch()
    assert parse_adapter("a:1.safetensors") == (Path("a:1.safetensors"), 1.0)
    assert parse_adapter("a:1.safetensors:-.5") == (Path("a:1.safetensors"), -0.5)
    assert parse_adapter("folder:2") == (Path("folder/pytorch_lora_weights.safetensors"), 2.0)
