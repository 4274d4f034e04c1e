"""Where the adapters of a file go: every name that a trainer may give a module, and the weight that is meant.

The original code of SD 3 and FLUX.1 has one layer where diffusers has several, or its rows in another order; an adapter
of such a layer is one of each of them, with the rows of `up` that are theirs.
"""

from collections.abc import Mapping
from typing import NamedTuple

from memscan.export.checkpoint.module_names import adapter_names, original_adapter_names
from memscan.export.checkpoint.original_transformers import Rows, original_rows

Place = tuple[str, str]
"""A part and the name of one of its weights."""

Shape = tuple[int, ...]


class Places(NamedTuple):
    """Each name that a file may have for a module -> the place of its weight; the shapes of all weights; and for the
    places of layers that only the original code has, the rows of each weight that they are made of."""

    names: dict[str, Place]
    shapes: dict[Place, Shape]
    joined: dict[Place, dict[Place, Rows]]


def adapter_places(shapes: Mapping[str, Mapping[str, Shape]], layers: int, transformer: str | None) -> Places:
    """The places of a checkpoint's linear layers and convolutions.

    Args:
        shapes: part -> name of a tensor -> its shape.
        layers: `layers_per_block` of a UNet.
        transformer: the class of the part "transformer", if there is one.
    """
    places = Places({}, {}, {})
    for part, tensors in shapes.items():
        weights = [name for name, shape in tensors.items() if len(shape) in (2, 4) and name.endswith(".weight")]
        places.shapes.update({(part, name): tensors[name] for name in weights})
        for spelled, module in adapter_names(part, [name.removesuffix(".weight") for name in weights], layers):
            places.names[spelled] = part, f"{module}.weight"
        if part == "transformer" and transformer is not None:
            _add_original(places, part, {name: tensors[name] for name in weights}, transformer, tensors)
    return places


def _add_original(
    places: Places, part: str, weights: Mapping[str, Shape], cls: str, tensors: Mapping[str, Shape]
) -> None:
    rows = original_rows(cls, tensors)
    together: dict[str, dict[str, Rows]] = {}
    for name in weights:
        together.setdefault(rows[name].name, {})[name] = rows[name]
    for original, parts in together.items():
        (first, each), *_ = parts.items()
        place = part, first
        if each.slices != (slice(None),):
            place = part, f"original {original}"
            places.shapes[place] = (sum(weights[name][0] for name in parts), *weights[first][1:])
            places.joined[place] = {(part, name): its for name, its in parts.items()}
        for spelled in original_adapter_names(original.removesuffix(".weight")):
            places.names[spelled] = place
