"""Writes graphs to disk: small ones whole, the denoiser's two graphs over one file of weights.

Weights may be stored as float16: a Cast node in front of each widens it again, and runtimes fold it away when they load
the graph. Arithmetic stays float32; only matrices and convolution kernels are rounded (`is_narrowed`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from torch import float32, nn

from memscan.export.nodes.emitter import Emitter
from memscan.scanner.graph_names import WEIGHTS

StorageDtype = Literal["float32", "float16"]

_EXTERNAL_FROM_BYTES = 1024
_EMBED_UP_TO_BYTES = 256 * 2**20


def is_narrowed(shape: Sequence[int], nbytes: int) -> bool:
    """Whether float16 storage rounds a float32 weight of this shape; vectors and small tables keep their precision."""
    return len(shape) >= 2 and nbytes >= _EXTERNAL_FROM_BYTES


def round_weights(module: nn.Module, storage: StorageDtype) -> None:
    """Round weights in place as `storage` rounds them in the graphs, so that parity is about arithmetic alone."""
    if storage == "float32":
        return
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype == float32 and is_narrowed(tensor.shape, tensor.nbytes):
            tensor.copy_(tensor.half().float())


def save_graph(model: ir.Model, file: Path, storage: StorageDtype = "float32") -> None:
    """Save a model; its weights go into the file itself if they are small, else into `<stem>.bin` beside it.

    A protobuf file cannot exceed 2 GiB, so large weights are always external.
    """
    weights = _weights([model])
    if storage == "float16":
        weights = _narrow([model], weights)
    if sum(tensor.nbytes for tensor in weights.values()) > _EMBED_UP_TO_BYTES:
        _externalize([model], weights, file.with_suffix(".bin"))
    ir.save(model, file)


def save_sharing_weights(graphs: dict[str, ir.Model], folder: Path, storage: StorageDtype = "float32") -> None:
    """Save graphs of one denoiser under their names in `folder`, all over one file of weights.

    Args:
        graphs: file name -> model. Weights of equal name must be equal. The models are changed.
    """
    models = list(graphs.values())
    weights = _weights(models)
    if storage == "float16":
        weights = _narrow(models, weights)
    _externalize(models, weights, folder / WEIGHTS)
    for name, model in graphs.items():
        ir.save(model, folder / name)


def _weights(models: Sequence[ir.Model]) -> dict[str, ir.TensorProtocol]:
    """Name -> tensor of all initializers that are large enough to be called weights."""
    weights: dict[str, ir.TensorProtocol] = {}
    for model in models:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < _EXTERNAL_FROM_BYTES:
                continue
            known = weights.setdefault(name, tensor)
            if known is not tensor and not np.array_equal(known.numpy(), tensor.numpy()):
                raise AssertionError(f"two graphs of one denoiser hold different weights called {name}")
    return weights


def _narrow(models: Sequence[ir.Model], weights: dict[str, ir.TensorProtocol]) -> dict[str, ir.TensorProtocol]:
    """Replace float32 weights by float16 ones and a Cast; returns all weights under their new names."""
    narrowed: dict[str, ir.TensorProtocol] = {}
    for name, tensor in weights.items():
        if tensor.dtype != ir.DataType.FLOAT or not is_narrowed(tensor.shape.numpy(), tensor.nbytes):
            narrowed[name] = tensor
            continue
        half_name = f"{name}.float16"
        half = ir.tensor(tensor.numpy().astype("float16"), name=half_name)
        narrowed[half_name] = half
        for model in models:
            if name in model.graph.initializers:
                _widen(model.graph, name, half)
    return narrowed


def _widen(graph: ir.Graph, name: str, half: ir.TensorProtocol) -> None:
    wide = graph.initializers.pop(name)
    stored = ir.val(half.name, const_value=half)
    graph.register_initializer(stored)
    emitter = Emitter(graph)
    with emitter.scope(half.name or name, before=graph[0]):
        cast = emitter.cast(stored, ir.DataType.FLOAT)
    ir.convenience.replace_all_uses_with(wide, cast)
    cast.name = name


def _externalize(models: Sequence[ir.Model], weights: dict[str, ir.TensorProtocol], file: Path) -> None:
    external = ir.external_data.convert_tensors_to_external(list(weights.values()), file.parent, file.name)
    for name, tensor in zip(weights, external, strict=True):
        for model in models:
            if name in model.graph.initializers:
                model.graph.initializers[name].const_value = tensor
