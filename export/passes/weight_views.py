"""Transposed weights as views: `Transpose(W)` of a torch parameter becomes an initializer over the same storage.

A traced linear layer is `MatMul(x, Transpose(W))`. Constant folding would copy every such weight, which doubles the
memory of a large model; a transposed torch view costs nothing until it is written to disk.
"""

import itertools

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor

from memscan.export.nodes.shapes import describe, operand


class ViewTransposedWeights(ir.passes.InPlacePass):
    """Replace each Transpose of a torch-backed initializer `w` by an initializer `w.T`.

    Requires: nothing.
    Ensures: no Transpose reads a torch-backed initializer; every other node is untouched.
    """

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if node.op_type == "Transpose" and parameter_of(node.inputs[0]) is not None:
                raise ir.passes.PostconditionError(f"{describe(node)} reads the parameter {operand(node, 0).name}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        modified = False
        for node in graph:
            weight = node.inputs[0] if node.op_type == "Transpose" else None
            parameter = parameter_of(weight)
            if weight is None or parameter is None:
                continue
            perm = node.attributes.get_ints("perm", tuple(reversed(range(parameter.ndim))))
            node.outputs[0].replace_all_uses_with(register_view(graph, f"{weight.name}.T", parameter.permute(*perm)))
            graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


def parameter_of(value: ir.Value | None) -> torch.Tensor | None:
    """The tensor behind a torch-backed initializer."""
    raw = getattr(value.const_value, "raw", None) if value is not None else None
    return raw.detach() if isinstance(raw, torch.Tensor) else None


def register_view(graph: ir.Graph, name: str, view: torch.Tensor) -> ir.Value:
    """The initializer over a view of a parameter, made if the graph has none of that view.

    It is called `name`, or `name.2` and so on where another view has that name.
    """
    for unique in itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2))):
        if unique not in graph.initializers:
            tensor = TorchTensor(view, name=unique)
            value = ir.Value(name=unique, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            graph.register_initializer(value)
            return value
        found = parameter_of(graph.initializers[unique])
        if found is not None and found.is_set_to(view):
            return graph.initializers[unique]
    raise AssertionError("numbers do not end")
