"""Adapters of low rank that were still loaded when a part was saved, under the names of peft.

Beside the untouched weight `X.base_layer.weight` lie the factors `X.lora_A.NAME.weight` and `X.lora_B.NAME.weight`.
What is not in the weights is their scale, alpha / r, and whether they were fused already, which leaves all names as
they are; diffusers itself gives such layers random values. They are added only where an `adapter_config.json` tells the
scale.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from memscan.export.checkpoint.adapter import peft_factor, require_shapes
from memscan.export.checkpoint.files import read_json
from memscan.export.checkpoint.tensor_headers import Tensor
from memscan.scanner.errors import ExportError

CONFIG = "adapter_config.json"
BASE = ".base_layer."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<role>A|B)(?:\.(?P<adapter>[^.]+))?\.weight")


class LoadedUpdate(NamedTuple):
    """What a weight lacks: `factor` * `up` @ `down`, up [out, r, ...], down [r, in, ...]."""

    up: Tensor
    down: Tensor
    factor: float


def read_loaded(
    where: str, folder: Path, factors: Mapping[str, Tensor], weights: Mapping[str, Tensor], example: str
) -> tuple[dict[str, LoadedUpdate], str]:
    """The updates by the names of the weights that they belong to, and a remark.

    Args:
        where: what to call the weights.
        folder: of the part.
        factors: name of a factor, as `FACTOR` matches it -> where it lies.
        weights: name of a weight, without `BASE` -> where it lies.
        example: a name to show.

    Raises:
        ExportError: their scale is not told, they are several adapters or of another kind, a factor has no counterpart,
            or a shape does not fit.
    """
    config = folder / CONFIG
    if not config.exists():
        raise ExportError(
            f"{where} still has adapters loaded, such as {example}, and nothing tells their scale: merge them"
            " (fuse_lora, then unload_lora_weights; merge_and_unload in peft) and save the checkpoint again, or, if"
            f" they are not fused yet, write their lora_alpha into {config}"
        )
    said = read_json(config)
    if said.get("peft_type", "LORA") != "LORA":
        raise ExportError(f"{config} is of a {said['peft_type']}, which memscan cannot fuse; it fuses plain LoRA")
    if said.get("lora_alpha") is None:
        raise ExportError(f"{config} has no lora_alpha, without which the scale of the adapters is not known")
    found = {name: match for name in sorted(factors) if (match := FACTOR.fullmatch(name))}
    adapters = sorted({match["adapter"] or "" for match in found.values()})
    if len(adapters) > 1:
        raise ExportError(
            f"{where} has several adapters loaded ({', '.join(adapters)}), and nothing tells which of them were in use:"
            " merge these and save the checkpoint again"
        )
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, match in found.items():
        pairs.setdefault(match["module"], {})[match["role"]] = factors[name]
    updates = {}
    for module, pair in pairs.items():
        weight = weights.get(f"{module}.weight")
        if weight is None or len(pair) != 2:
            raise ExportError(f"{where} lacks the weight or one of the two factors of {module}; save it again")
        up, down = pair["B"], pair["A"]
        require_shapes(where, module, up.shape, down.shape, weight.shape)
        updates[f"{module}.weight"] = LoadedUpdate(up, down, peft_factor(config, said, module, up.shape[1]))
    title = f"the adapter {adapters[0]}" if adapters[0] else "the adapter"
    count = f"{len(updates)} weight{'s' if len(updates) > 1 else ''}"
    return updates, f"{title} that is still loaded is added to {count}, by the lora_alpha in its {CONFIG}"
