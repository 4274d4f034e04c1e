"""Weights that match their configuration: read from safetensors by us, so that nothing is left to chance or at random.

diffusers and transformers give random values to a tensor that they do not find, and only warn.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from memscan.export.checkpoint.weight_files import WeightFiles, named
from memscan.scanner.errors import ExportError, first_line

_LEGACY_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""diffusers' names of attention before 0.15, of autoencoders above all; diffusers converts them too."""

_IGNORED = ("text_model.embeddings.position_ids", "embeddings.position_ids")
"""0, 1, 2, ...: stored by transformers before 4.31, and built by it now."""

_TIED = {"encoder.embed_tokens.weight": "shared.weight"}
"""T5's table of embeddings, which its class has twice and which files hold under either name, or both."""

_ADAPTED = (".base_layer.", ".lora_A.", ".lora_B.", ".lora.up.", ".lora.down.", ".lora_layer.")


class Tensor(NamedTuple):
    """Where a tensor lies: its file and its name there."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


class Weights(NamedTuple):
    """The tensors of a part by the names that its class gives them, and a remark about wrappers, or ""."""

    places: dict[str, Tensor]
    remark: str


def match_weights(part: str, files: WeightFiles, expected: Mapping[str, torch.Tensor]) -> Weights:
    """Find every tensor of a part in its files, and nothing else, from their headers alone.

    Args:
        expected: the state of the class built from the configuration, on whatever device.

    Raises:
        ExportError: tensors are missing, unexpected, of another shape or of integers, adapters are loaded, or a file
            cannot be read.
    """
    expected = {name: tensor for name, tensor in expected.items() if name not in _TIED}
    places: dict[str, Tensor] = {}
    wrapped = set()
    where = f"{part} ({files.name})"
    for tensor in _headers(files):
        name = tensor.key
        if any(sign in name for sign in _ADAPTED):
            raise ExportError(
                f"{where} still has adapters loaded, such as {name}: merge them (fuse_lora, then"
                " unload_lora_weights; merge_and_unload in peft) and save the checkpoint again"
            )
        if name not in expected:
            name, wrappers = _unwrapped(name)
            wrapped |= wrappers
            name = _renamed(name, expected)
        name = _TIED.get(name, name) if _TIED.get(name) in expected else name
        if name in places and {tensor.key, places[name].key} & _TIED.keys():
            continue
        if name in places:
            raise ExportError(f"{where} has two tensors for {name}: {places[name].key} and {tensor.key}")
        if name not in expected and name in _IGNORED:
            continue
        places[name] = tensor
    _require_match(where, places, expected)
    remark = f"{part}: stripped {' and '.join(sorted(wrapped))} from the names of weights" if wrapped else ""
    return Weights(places, remark)


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
        for name, place in sorted(weights.places.items()):
            if place.file not in opened:
                opened[place.file] = stack.enter_context(safe_open(place.file, "pt"))
            yield name, opened[place.file].get_tensor(place.key).to(torch.float32)


def _headers(files: WeightFiles) -> Iterator[Tensor]:
    for file in files.files:
        try:
            with safe_open(file, "pt") as opened:
                for key in sorted(opened.keys()):
                    piece = opened.get_slice(key)
                    yield Tensor(file, key, tuple(piece.get_shape()), piece.get_dtype())
        except (OSError, SafetensorError) as error:
            raise ExportError(f"{file} cannot be loaded: {first_line(error)}; download it again") from error


def _unwrapped(name: str) -> tuple[str, set[str]]:
    """A name without what torch.compile and the data-parallel classes put before it, and what that was."""
    steps = name.split(".")
    wrappers = set()
    if "_orig_mod" in steps:
        wrappers.add("_orig_mod.")
        steps = [step for step in steps if step != "_orig_mod"]
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
