"""Parts that were saved with peft's adapters still loaded: added where their scale is told, refused where it is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from memscan.export.checkpoint.checkpoint import Checkpoint, find_checkpoint
from memscan.scanner.errors import ExportError
from tests.export.checkpoint.spoil import Tensors, renamed, rewrite

RANK = 2


def find(folder: Path) -> Checkpoint:
    return find_checkpoint(str(folder))


def is_adapted(name: str) -> bool:
    """Of the UNet a linear layer, a convolution of 3 x 3 and one of 1 x 1; of the text encoder every query."""
    return name.endswith(("attn2.to_q.weight", "mid_block.resnets.0.conv1.weight", "proj_in.weight", "q_proj.weight"))


def with_adapter(tensors: Tensors, name: str = "default_0") -> Tensors:
    """As peft injects them: the weight and the bias of a layer below `base_layer`, the factors beside it."""
    generator = torch.Generator().manual_seed(0)
    modules = {key.removesuffix(".weight") for key in tensors if is_adapted(key)}
    loaded = {}
    for key, tensor in tensors.items():
        module, _, leaf = key.rpartition(".")
        loaded[f"{module}.base_layer.{leaf}" if module in modules else key] = tensor
    for module in sorted(modules):
        weight = tensors[f"{module}.weight"]
        up, down = (weight.shape[0], RANK), (RANK, *weight.shape[1:])
        ones = (1,) * (weight.dim() - 2)
        loaded[f"{module}.lora_B.{name}.weight"] = torch.randn(*up, *ones, generator=generator)
        loaded[f"{module}.lora_A.{name}.weight"] = torch.randn(down, generator=generator)
    return loaded


def tell(folder: Path, **said: object) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, **said}))


def change(folder: Path, part: str, plain: Path) -> dict[str, torch.Tensor]:
    """What was added to each weight that has changed."""
    before, after = (find(path).load(part).state_dict() for path in (plain, folder))
    assert before.keys() == after.keys()
    return {name: after[name] - before[name] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    ("said", "factor"),
    [
        ({"lora_alpha": 3}, 3 / RANK),
        ({"lora_alpha": 3, "use_rslora": True}, 3 / RANK**0.5),
        ({"lora_alpha": 0}, 0.0),
    ],
    ids=["alpha", "by the root of the rank", "fused already"],
)
def test_they_are_added_by_the_scale_that_their_configuration_tells(
    copy: Path, tiny_pipeline: Path, part: str, said: dict[str, object], factor: float
) -> None:
    factors: Tensors = {}

    def load(tensors: Tensors) -> Tensors:
        loaded = with_adapter(tensors)
        factors.update(loaded)
        return loaded

    rewrite(copy / part, load)
    tell(copy / part, **said)
    found = change(copy, part, tiny_pipeline)
    modules = sorted({name.split(".lora_")[0] for name in factors if ".lora_" in name})
    assert len(modules) >= 2
    assert len(found) == (len(modules) if factor else 0)
    for module in modules if factor else ():
        up, down = (factors[f"{module}.lora_{role}.default_0.weight"].flatten(1) for role in "BA")
        (added,) = [tensor for name, tensor in found.items() if name.endswith(f"{module}.weight")]
        expected = (factor * up @ down).reshape(added.shape)
        torch.testing.assert_close(added, expected, atol=3e-6, rtol=1e-5)
    (remark,) = find(copy).remarks
    assert f"the adapter default_0 that is still loaded is added to {len(modules)} weights, by the lora_" in remark


def test_what_peft_puts_before_all_names_is_stripped(copy: Path, tiny_pipeline: Path) -> None:
    rewrite(copy / "unet", lambda tensors: {f"base_model.model.{k}": v for k, v in with_adapter(tensors).items()})
    tell(copy / "unet", lora_alpha=RANK)
    assert change(copy, "unet", tiny_pipeline)
    assert "stripped base_model.model. from the names of weights; the adapter default_0" in find(copy).remarks[0]


def test_their_scale_is_part_of_the_digest(copy: Path) -> None:
    rewrite(copy / "unet", with_adapter)
    digests = set()
    for alpha in (2, 4):
        tell(copy / "unet", lora_alpha=alpha)
        digests.add(find(copy).digest)
    assert len(digests) == 2


def second(tensors: Tensors) -> Tensors:
    loaded = with_adapter(tensors)
    others = {key.replace("default_0", "other"): value.clone() for key, value in loaded.items() if "default_0" in key}
    return loaded | others


def without_one_factor(tensors: Tensors) -> Tensors:
    loaded = with_adapter(tensors)
    lost = next(key for key in sorted(loaded) if ".lora_A." in key)
    return {key: value for key, value in loaded.items() if key != lost}


def dora(tensors: Tensors) -> Tensors:
    return {**with_adapter(tensors), "conv_in.lora_magnitude_vector.default_0.weight": torch.ones(16)}


@pytest.mark.parametrize(
    ("load", "said", "message"),
    [
        (
            with_adapter,
            None,
            r"still has adapters loaded, such as \S+, and nothing tells their scale: merge them \(fuse",
        ),
        (with_adapter, {}, r"adapter_config\.json has no lora_alpha, without which the scale of the adapters is not"),
        (with_adapter, {"peft_type": "LOHA"}, r"is of a LOHA, which memscan cannot fuse; it fuses plain LoRA$"),
        (
            with_adapter,
            {"lora_alpha": 2, "use_dora": True},
            r"adapter_config\.json says use_dora, which memscan cannot",
        ),
        (with_adapter, {"lora_alpha": "2"}, r"adapter_config\.json has lora_alpha '2': it must be a number$"),
        (second, {"lora_alpha": 2}, r"has several adapters loaded \(default_0, other\), and nothing tells which of"),
        (without_one_factor, {"lora_alpha": 2}, r"lacks the weight or one of the two factors of \S+; save it again$"),
        (dora, {"lora_alpha": 2}, r"still has adapters loaded, such as conv_in\.lora_magnitude_vector\S+: merge them"),
        (
            renamed("attn2.to_q.", "attn2.to_q.lora_layer.up."),
            None,
            r"still has adapters loaded, such as .*: merge them",
        ),
    ],
    ids=["no scale", "no alpha", "kind", "dora told", "alpha", "several", "lone", "dora", "before peft"],
)
def test_what_cannot_be_added_is_refused(
    copy: Path, load: Callable[[Tensors], Tensors], said: dict[str, object] | None, message: str
) -> None:
    rewrite(copy / "unet", load)
    if said is not None:
        tell(copy / "unet", **said)
    with pytest.raises(ExportError, match=message):
        find(copy)
