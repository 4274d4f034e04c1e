"""Edits of a saved pipeline: of a JSON file, of the tensors in a file of weights."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


def edit(file: Path, **changes: object) -> None:
    """Set keys of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def drop(file: Path, *keys: str) -> None:
    """Remove keys of a JSON file."""
    record = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in record.items() if key not in keys}))


def rewrite(folder: Path, change: Callable[[Tensors], Tensors], name: str | None = None) -> None:
    """Replace the tensors of the part in `folder` by what `change` makes of them, saved as `name`."""
    file = folder / WEIGHTS[folder.name]
    tensors = change(load_file(file))
    file.unlink()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / (name or file.name))


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    """A change for `rewrite`: `old` becomes `new` in every name."""
    return lambda tensors: {key.replace(old, new): tensor for key, tensor in tensors.items()}


def shard(folder: Path, stem: str, variant: str = "") -> list[Path]:
    """Split the weights of the part in `folder` into two shards and an index, named as its library does."""
    whole = folder / WEIGHTS[folder.name]
    tensors = load_file(whole)
    names = [f"{stem}{variant}-{number:05}-of-00002.safetensors" for number in (1, 2)]
    places = {key: names[index % 2] for index, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key, place in places.items() if place == name}, folder / name)
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{stem}.safetensors.index{variant}.json").write_text(json.dumps(index))
    whole.unlink()
    return [folder / name for name in names]
