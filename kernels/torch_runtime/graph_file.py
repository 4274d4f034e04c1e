"""Reads an ONNX file: nodes, names of inputs and outputs, and where its constants are, without loading large ones."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from memscan.kernels.torch_runtime.constants import Constant, stored
from memscan.kernels.torch_runtime.dtypes import torch_dtype
from memscan.kernels.torch_runtime.node import Node
from memscan.scanner.errors import BundleError, first_line

_OPSETS = range(18, 24)
"""In which the operators of the table have the meaning that it gives them; GroupNormalization as from 21 on."""


@dataclass(frozen=True)
class GraphFile:
    """An ONNX graph as read; `initializers` are its constants by name."""

    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    initializers: "dict[str, Initializer]"


@dataclass(frozen=True)
class Initializer:
    """A constant of a graph, which can be had on any device."""

    file: Path
    proto: TensorProto

    def on(self, device: torch.device) -> Constant:
        """The constant on a device.

        Raises:
            BundleError: it is of a type that bundles do not use, or kept outside the bundle.
        """
        where = f"{self.proto.name} in {self.file}"
        dtype, shape = torch_dtype(self.proto.data_type, where), tuple(self.proto.dims)
        if self.proto.data_location != TensorProto.EXTERNAL:
            return Constant(None, lambda constants: self.embedded().to(device))
        place = {entry.key: entry.value for entry in self.proto.external_data}
        location = PurePosixPath(place["location"])
        if location.is_absolute() or ".." in location.parts:
            raise BundleError(f"{where} lies outside the bundle: {location}")
        return stored(self.file.parent / location, int(place.get("offset", 0)), dtype, shape, device)

    def embedded(self) -> torch.Tensor:
        """The tensor of a constant that is held in the graph's own file."""
        array = numpy_helper.to_array(self.proto)
        if self.proto.data_type == TensorProto.BFLOAT16:  # numpy's is an extension that torch does not know
            return torch.from_numpy(array.view("uint16").copy()).view(torch.bfloat16)
        return torch.from_numpy(array.copy())


def read_graph(file: Path) -> GraphFile:
    """Read a graph.

    Raises:
        BundleError: it is no ONNX model, of another opset, or has parts that bundles do not use.
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise BundleError(f"{file} cannot be loaded: export the model again ({first_line(error)})") from error
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("", 0) not in _OPSETS:
        raise BundleError(f"{file} has opset {versions.get('')}: the torch engine knows {_OPSETS[0]} to {_OPSETS[-1]}")
    graph = model.graph
    initializers = {proto.name: Initializer(file, proto) for proto in graph.initializer}
    return GraphFile(
        [_node(proto) for proto in graph.node],
        [value.name for value in graph.input if value.name not in initializers],
        [value.name for value in graph.output],
        initializers,
    )


def _node(proto: onnx.NodeProto) -> Node:
    operator = f"{proto.domain}::{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type
    attributes = {attribute.name: _value(attribute) for attribute in proto.attribute}
    return Node(operator, tuple(proto.input), tuple(proto.output), attributes, proto.name)


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value
