"""Adapters of low rank (LoRA): read from a file, and added to the weights that they were trained beside.

A module's weight W becomes W + scale * alpha / r * up @ down (Hu et al., arXiv 2106.09685, section 4.1), with rank r;
for a convolution, `down` has its kernel and `up` one of 1 x 1. A file without alpha means alpha = r.
"""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from memscan.export.checkpoint.adapter_places import Place, Places, Shape
from memscan.export.checkpoint.files import require_whole
from memscan.export.checkpoint.weight_files import named
from memscan.scanner.bundle import file_digest
from memscan.scanner.errors import ExportError, first_line

_UP_OR_DOWN = re.compile(
    r"(?P<module>.+?)(?:\.lora_(?P<role>down|up|A|B)(?:\.\w+)?|(?:\.lora|\.lora_linear_layer|_lora)\.(?P<old>down|up))"
    r"\.weight"
)
_ALPHA = re.compile(r"(?P<module>.+)\.alpha")
_METADATA = "lora_adapter_metadata"
"""Where diffusers writes what peft knows of the adapters: "unet.lora_alpha", "unet.alpha_pattern" and so on."""

_OTHER_KINDS = {
    "lora_mid.weight": "a LoCon with a core (lora_mid)",
    "dora_scale": "a DoRA (dora_scale)",
    "lora_magnitude_vector": "a DoRA (lora_magnitude_vector)",
    "hada_w1_a": "a LoHa (hada_w1_a)",
    "lokr_w1": "a LoKr (lokr_w1)",
    "lokr_w1_a": "a LoKr (lokr_w1_a)",
    "oft_blocks": "an OFT (oft_blocks)",
    "diff": "a difference of full rank (diff)",
    "lora_embedding_A": "an adapter of embeddings (lora_embedding_A)",
}


@dataclasses.dataclass(frozen=True)
class Update:
    """`factor` * `up` @ `down` in float32: up [out, r], down [r, in * kernel]."""

    up: torch.Tensor
    down: torch.Tensor
    factor: float


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A file of adapters, checked against the weights that it changes; `updates` is by their place."""

    file: str
    digest: str
    scale: float
    updates: Mapping[Place, Update]

    @property
    def title(self) -> str:
        """Its name, with the scale where that is not 1."""
        name = Path(self.file).stem
        return name if self.scale == 1 else f"{name}:{self.scale:g}"

    def extent(self) -> str:
        """How many weights of which parts it changes."""
        counts = Counter(part for part, _ in self.updates)
        parts = sorted(counts, key=lambda part: (part not in ("unet", "transformer"), part))
        return " and ".join(f"{counts[part]} weights of {part}" for part in parts)

    def added(self, part: str, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The float32 weight with its update, if it has one."""
        update = self.updates.get((part, name))
        if update is None:
            return weight
        return weight + (self.scale * update.factor * (update.up @ update.down)).reshape(weight.shape)


def parse_adapter(text: str) -> tuple[Path, float]:
    """The file and the scale of FILE or FILE:SCALE.

    Raises:
        ExportError: the scale is not a finite number other than 0, or there is no such file of safetensors.
    """
    file, scale = Path(text), 1.0
    head, colon, tail = text.rpartition(":")
    if colon and not file.exists():
        file = Path(head)
        try:
            scale = float(tail)
        except ValueError:
            raise ExportError(f"no file {text}, and {tail!r} is no scale: give FILE or FILE:SCALE") from None
        if not math.isfinite(scale) or scale == 0:
            raise ExportError(f"the scale of {head} is {tail}: it must be a finite number other than 0")
    if file.is_dir():
        file = _only_file(file)
    require_whole(file)
    if not file.is_file():
        raise ExportError(f"no file {file}: give adapters as FILE or FILE:SCALE")
    if file.suffix != ".safetensors":
        raise ExportError(f"{file} is no file of safetensors: memscan reads adapters from .safetensors only")
    return file, scale


def read_adapter(text: str, places: Places) -> Adapter:
    """Read the adapters in FILE or FILE:SCALE.

    Args:
        places: the names that a file may have for modules, and their weights.

    Raises:
        ExportError: the file cannot be read, is of another kind of adapter, has a key that none of these names explains
            or that has no counterpart, two adapters of one weight, or a shape that does not fit.
    """
    file, scale = parse_adapter(text)
    tensors, metadata = _read(file)
    _require_low_rank(file, tensors)
    downs: dict[Place, torch.Tensor] = {}
    ups: dict[Place, torch.Tensor] = {}
    alphas: dict[Place, float] = {}
    sources: dict[Place, str] = {}
    unknown = []
    for key, tensor in tensors.items():
        found = _UP_OR_DOWN.fullmatch(key) or _ALPHA.fullmatch(key)
        place = places.names.get(found["module"]) if found else None
        if found is None or place is None:
            unknown.append(key)
            continue
        role = found.groupdict().get("role") or found.groupdict().get("old")
        kept: dict[Place, Any] = alphas if role is None else downs if role in ("down", "A") else ups
        if place in kept:
            raise ExportError(f"{file} has two tensors for one factor of {'.'.join(place)}: {key} is the second")
        kept[place] = _scalar(file, key, tensor) if role is None else tensor
        sources[place] = found["module"]
    if unknown:
        raise ExportError(
            f"{file} has {len(unknown)} keys of {len(tensors)} that fit no weight of this checkpoint"
            f" ({named(unknown)}): it was made for another model, or is no LoRA"
        )
    lone = [f"{sources[place]}" for place in sorted(sources) if place not in ups or place not in downs]
    if lone:
        raise ExportError(f"{file} lacks one of the two factors of {named(lone)}; download it again")
    if not ups:
        raise ExportError(f"{file} holds no adapters")
    updates: dict[Place, Update] = {}
    for place, up in ups.items():
        require_shapes(file, sources[place], tuple(up.shape), tuple(downs[place].shape), places.shapes[place])
        rank = int(up.shape[1])
        factor = alphas[place] / rank if place in alphas else _written_factor(file, metadata, place, rank)
        update = Update(up.float().flatten(1), downs[place].float().flatten(1), factor)
        for each, part in _apart(place, update, places).items():
            if each in updates:
                raise ExportError(f"{file} has two adapters of {'.'.join(each)}: {sources[place]} is the second")
            updates[each] = part
    return Adapter(file.name, file_digest(file), scale, updates)


def _apart(place: Place, update: Update, places: Places) -> dict[Place, Update]:
    """An update of a layer that diffusers has as several, as one of each."""
    if place not in places.joined:
        return {place: update}
    return {each: dataclasses.replace(update, up=rows.of(update.up)) for each, rows in places.joined[place].items()}


def _only_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        found = named([file.name for file in files]) if files else "none"
        raise ExportError(f"{folder} must hold one file of safetensors to be read as adapters; it holds {found}")
    return files[0]


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(file, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in sorted(opened.keys())}
            text = (opened.metadata() or {}).get(_METADATA, "{}")
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file} cannot be loaded: {first_line(error)}; download it again") from error
    bad = [key for key, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    if bad:
        raise ExportError(f"{file} has NaN or infinite values, in {named(bad)}")
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise ExportError(f"{file} has {_METADATA} that is not JSON: {first_line(error)}") from error
    if not isinstance(metadata, dict):
        raise ExportError(f"{file} has {_METADATA} that is no JSON object")
    return tensors, metadata


def _require_low_rank(file: Path, tensors: Iterable[str]) -> None:
    for key in tensors:
        for sign, kind in _OTHER_KINDS.items():
            if key.endswith(f".{sign}") or f".{sign}." in key:
                raise ExportError(f"{file} holds {kind}, which memscan cannot fuse; it fuses plain LoRA: {key}")


def _scalar(file: Path, key: str, tensor: torch.Tensor) -> float:
    if tensor.numel() != 1:
        raise ExportError(f"{file} has {key} of shape {list(tensor.shape)}: it must be one number")
    return float(tensor.item())


def require_shapes(file: Path | str, module: str, up: Shape, down: Shape, weight: Shape) -> None:
    """Check that the product of two factors has the shape of the weight.

    A linear layer may be a convolution of 1 x 1 in another file, so that kernels of 1 x 1 are passed over.

    Raises:
        ExportError: it has another.
    """
    fits = (
        min(len(up), len(down), len(weight)) >= 2
        and up[0] == weight[0]
        and up[1] == down[0]
        and down[1] == weight[1]
        and all(side == 1 for side in up[2:])
        and _kernel(down) == _kernel(weight)
    )
    if not fits:
        raise ExportError(
            f"{file} has for {module} the factors {list(up)} and {list(down)}, but its weight is {list(weight)}: it was"
            " made for another model"
        )


def _kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if all(side == 1 for side in shape[2:]) else shape[2:]


def _written_factor(file: Path, metadata: Mapping[str, Any], place: Place, rank: int) -> float:
    """alpha / r from what diffusers writes into the file; 1 if it writes nothing."""
    part, name = place
    said = {key.removeprefix(f"{part}."): value for key, value in metadata.items() if key.startswith(f"{part}.")}
    return peft_factor(file, said, name.removesuffix(".weight"), rank)


def peft_factor(file: Path, said: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r of a module as peft has it, from a configuration of peft in `file`; 1 if that does not tell.

    Raises:
        ExportError: it tells of another kind of adapter, or of an alpha that is no number.
    """
    if said.get("use_dora"):
        raise ExportError(f"{file} says use_dora, which memscan cannot fuse; it fuses plain LoRA")
    alpha = said.get("lora_alpha", rank)
    patterns = said.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise ExportError(f"{file} has alpha_pattern {patterns!r}: it must be an object")
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise ExportError(f"{file} has lora_alpha {alpha!r}: it must be a number")
    return float(alpha) / (math.sqrt(rank) if said.get("use_rslora") else rank)
