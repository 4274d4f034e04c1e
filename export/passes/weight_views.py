"""Transposed weights as views: `Transpose(W)` of a torch parameter becomes an initializer over the same storage.

A traced linear layer is `MatMul(x, Transpose(W))`. Constant folding would copy every such weight, which doubles the
memory of a large model; a transposed torch view costs nothing until it is written to disk.
"""

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor


class ViewTransposedWeights(ir.passes.InPlacePass):
    """Replace each Transpose of a torch-backed initializer `w` by an initializer `w.T`.

    Ensures: no Transpose reads a torch-backed initializer; every other node is untouched.
    """

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
    """The initializer `name` over a view of a parameter, made if the graph has none of that name."""
    if name not in graph.initializers:
        tensor = TorchTensor(view, name=name)
        graph.register_initializer(
            ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
    return graph.initializers[name]
