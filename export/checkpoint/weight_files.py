"""Which files hold the weights of a part, found by what lies in its folder and never by a guessed name.

A library reads `<stem>.safetensors`, or the shards that `<stem>.safetensors.index.json` lists. Other sets are variants,
such as `<stem>.fp16.safetensors`; they are read where there is nothing else, and then it is said which.
"""

import dataclasses
import re
from pathlib import Path

from memscan.export.checkpoint.files import read_json, require_whole
from memscan.scanner.errors import ExportError

_SHARD = re.compile(r"-\d+-of-\d+")
_ROUNDED = ("fp16", "bf16", "float16", "bfloat16")
"""Variants that are the same weights, rounded; any other variant has weights of its own."""


@dataclasses.dataclass(frozen=True)
class WeightFiles:
    """The files of one part's weights, the first of which is the index if they are shards.

    `name` is the file that a reader would look for; `remark` says what was chosen where there was a choice, or is "".
    """

    name: str
    files: tuple[Path, ...]
    index: Path | None = None
    remark: str = ""


def find_weights(folder: Path, stem: str) -> WeightFiles:
    """Find the weights in `folder`.

    Args:
        stem: what the library calls them, "diffusion_pytorch_model" or "model".

    Raises:
        ExportError: there are none, only pickles, several sets that may differ, or a shard is missing.
    """
    plain = (f"{stem}.safetensors", f"{stem}.safetensors.index.json")
    found = _sets(folder, stem)
    chosen = [name for name in plain if name in found] or found
    if not chosen:
        raise ExportError(_nothing(folder, stem))
    if len(chosen) > 1:
        raise ExportError(
            f"{folder} holds several sets of weights, {' and '.join(chosen)}, which may differ: leave the one that is"
            f" meant, as {plain[0]}"
        )
    (name,) = chosen
    index = folder / name if name.endswith(".json") else None
    files = _shards(index) if index else (folder / name,)
    for file in files:
        require_whole(file)
    return WeightFiles(name, files, index, "" if name in plain else _choice(folder, stem, name))


def _sets(folder: Path, stem: str) -> list[str]:
    """Names of whole files and of indices of shards."""
    names = sorted(file.name for file in folder.iterdir() if file.name.startswith((f"{stem}.", f"{stem}-")))
    return [
        name
        for name in names
        if (name.endswith(".safetensors") and not _SHARD.search(name))
        or (name.endswith(".json") and ".safetensors.index" in name)
    ]


def _choice(folder: Path, stem: str, name: str) -> str:
    """What is to be said of a variant that is read for want of anything else."""
    rivals = [
        pickle
        for start in (stem, "pytorch_model")
        for pickle in (f"{start}.bin", f"{start}.bin.index.json")
        if (folder / pickle).exists()
    ]
    if not rivals:
        return f"{folder.name}: read from {name}, for there is no {stem}.safetensors"
    if not any(variant in name.split(".") for variant in _ROUNDED):
        raise ExportError(
            f"{folder} holds {name} and {rivals[0]}, which may differ; memscan reads safetensors only: save the weights"
            f" that are meant as {stem}.safetensors"
        )
    return f"{folder.name}: read from {name}, the rounded weights, and not from {rivals[0]}, which is a pickle"


def _shards(index: Path) -> tuple[Path, ...]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()) or not places:
        raise ExportError(f"{index} has no weight_map from tensors to files")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name:
            raise ExportError(f"{index} names {name}, outside its folder; do not trust this checkpoint")
        require_whole(index.parent / name)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ExportError(
            f"{index.parent} lacks {len(missing)} of the {len(names)} shards that {index.name} lists:"
            f" {named(missing)}; download the checkpoint again"
        )
    return tuple(index.parent / name for name in names)


def _nothing(folder: Path, stem: str) -> str:
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if any(_SHARD.search(name) for name in others):
        return f"{folder} has shards ({named(others)}), but not the index that lists them"
    if pickles:
        reason = f"only pickle weights ({', '.join(pickles)})"
        return f"{folder} has {reason}: memscan reads safetensors only; save the checkpoint as safetensors"
    if others:
        return f"{folder} has no {stem}.safetensors, the name that its library reads, but {named(others)}"
    return f"{folder} has no weights: memscan reads safetensors only; save the checkpoint as safetensors"


def named(names: list[str], shown: int = 4) -> str:
    """A few names, then "and N more"."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
