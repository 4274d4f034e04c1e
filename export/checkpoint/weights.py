"""Weights that match their configuration: read from safetensors by us, so that nothing is left to chance or at random.

diffusers and transformers give random values to a tensor that they do not find, and only warn.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open

from memscan.export.checkpoint.loaded_adapters import BASE, CONFIG, FACTOR, LoadedUpdate, read_loaded
from memscan.export.checkpoint.tensor_headers import Tensor, headers
from memscan.export.checkpoint.weight_files import WeightFiles, named
from memscan.scanner.errors import ExportError

_LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""diffusers' names of attention before 0.15, of autoencoders above all; diffusers converts them too."""

_IGNORED = ("text_model.embeddings.position_ids", "embeddings.position_ids")
"""0, 1, 2, ...: stored by transformers before 4.31, and built by it now."""

_TIED = {"encoder.embed_tokens.weight": "shared.weight"}
"""T5's table of embeddings, which its class has twice and which files hold under either name, or both."""

_ADAPTED = (".lora.up.", ".lora.down.", ".lora_layer.", ".lora_magnitude_vector.", ".lora_embedding_A.")
"""Adapters that are loaded in a way that memscan does not fuse: of diffusers before peft, DoRA, of embeddings."""


class Weights(NamedTuple):
    """The tensors of a part by the names that its class gives them, what is added to them, and a remark, or ""."""

    places: dict[str, Tensor]
    updates: dict[str, LoadedUpdate]
    remark: str


def match_weights(folder: Path, files: WeightFiles, expected: Mapping[str, torch.Tensor]) -> Weights:
    """Find every tensor of the part in `folder` in its files, and nothing else, from their headers alone.

    Args:
        expected: the state of the class built from the configuration, on whatever device.

    Raises:
        ExportError: tensors are missing, unexpected, of another shape or of integers, adapters are loaded that cannot
            be added, or a file cannot be read.
    """
    expected = {name: tensor for name, tensor in expected.items() if name not in _TIED}
    places: dict[str, Tensor] = {}
    factors: dict[str, Tensor] = {}
    wrapped = set()
    loaded = ""
    where = f"{folder} ({files.name})"
    for tensor in headers(files.files):
        name = tensor.key
        if any(sign in name for sign in _ADAPTED):
            raise ExportError(
                f"{where} still has adapters loaded, such as {name}: merge them (fuse_lora, then"
                " unload_lora_weights; merge_and_unload in peft) and save the checkpoint again"
            )
        if name not in expected:
            name, wrappers = _unwrapped(name)
            wrapped |= wrappers
            if FACTOR.fullmatch(name):
                factors[name], loaded = tensor, loaded or name
                continue
            if BASE in name:
                name, loaded = name.replace(BASE, "."), loaded or name
            name = _renamed(name, expected)
        name = _TIED.get(name, name) if _TIED.get(name) in expected else name
        if name in places and {tensor.key, places[name].key} & _TIED.keys():
            continue
        if name in places:
            raise ExportError(f"{where} has two tensors for {name}: {places[name].key} and {tensor.key}")
        if name not in expected and name in _IGNORED:
            continue
        places[name] = tensor
    remarks = [f"stripped {' and '.join(sorted(wrapped))} from the names of weights"] if wrapped else []
    updates: dict[str, LoadedUpdate] = {}
    if loaded:
        updates, remark = read_loaded(where, folder, factors, places, loaded)
        remarks.append(remark)
    elif (folder / CONFIG).exists():
        raise ExportError(f"{folder} holds an adapter ({CONFIG}) beside its weights: merge it into them and save again")
    _require_match(where, places, expected)
    return Weights(places, updates, f"{folder}: {'; '.join(remarks)}" if remarks else "")


def require_finite(part: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Check that no weight is NaN or infinite, in float32 as it will be used.

    Raises:
        ExportError: one is; it names the tensors.
    """
    bad = [name for name, tensor in tensors if not _finite(tensor)]
    if bad:
        raise ExportError(
            f"{part} has NaN or infinite weights, in {named(bad)}: the checkpoint is damaged, or was saved after its"
            " training diverged"
        )


def read_tensors(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in float32, one after the other by name; the files are mapped, not copied, where they are float32."""
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}

        def read(place: Tensor) -> torch.Tensor:
            if place.file not in opened:
                opened[place.file] = stack.enter_context(safe_open(place.file, "pt"))
            tensor: torch.Tensor = opened[place.file].get_tensor(place.key).to(torch.float32)
            return tensor

        for name, place in sorted(weights.places.items()):
            tensor, update = read(place), weights.updates.get(name)
            if update is not None:
                product = read(update.up).flatten(1) @ read(update.down).flatten(1)
                tensor = tensor + (update.factor * product).reshape(tensor.shape)
            yield name, tensor


def _unwrapped(name: str) -> tuple[str, set[str]]:
    """A name without what torch.compile and the data-parallel classes put before it, and what that was."""
    steps = name.split(".")
    wrappers = set()
    if "_orig_mod" in steps:
        wrappers.add("_orig_mod.")
        steps = [step for step in steps if step != "_orig_mod"]
    if steps[:2] == ["base_model", "model"]:
        wrappers.add("base_model.model.")
        del steps[:2]
    while steps[0] == "module" and len(steps) > 1:
        wrappers.add("module.")
        del steps[0]
    return ".".join(steps), wrappers


def _renamed(name: str, expected: Mapping[str, torch.Tensor]) -> str:
    """The name that the class gives to a tensor which an older or newer version of its library wrote as `name`."""
    head, _, leaf = name.rpartition(".")
    head, _, layer = head.rpartition(".")
    candidates = [name.removeprefix("text_model."), f"text_model.{name}"]
    if layer in _LEGACY_ATTENTION:
        candidates.append(f"{head}.{_LEGACY_ATTENTION[layer]}.{leaf}")
    return next((candidate for candidate in (name, *candidates) if candidate in expected), name)


def _require_match(where: str, places: dict[str, Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    missing = sorted(expected.keys() - places.keys())
    unexpected = sorted(places[name].key for name in places.keys() - expected.keys())
    common = sorted(places.keys() & expected.keys())
    misshapen = [
        f"{name} is {list(places[name].shape)}, not {list(expected[name].shape)}"
        for name in common
        if places[name].shape != tuple(expected[name].shape)
    ]
    integers = [f"{name} is {places[name].dtype}" for name in common if not places[name].dtype.startswith(("F", "BF"))]
    faults = [
        f"{len(names)} {word} ({named(names)})"
        for word, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
            ("not floating-point", integers),
        )
        if names
    ]
    if faults:
        raise ExportError(
            f"the weights of {where} do not match its configuration, {len(expected)} tensors: {'; '.join(faults)}"
        )


def _finite(tensor: torch.Tensor) -> bool:
    # One pass; unlike a sum, it cannot overflow.
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(tensor.aminmax())).all())
