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
            parameter = getattr(weight.const_value, "raw", None) if weight is not None else None
            if weight is None or not isinstance(parameter, torch.Tensor):
                continue
            name = f"{weight.name}.T"
            if name not in graph.initializers:
                perm = node.attributes.get_ints("perm", tuple(reversed(range(parameter.ndim))))
                tensor = TorchTensor(parameter.detach().permute(*perm), name=name)
                graph.register_initializer(
                    ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
                )
            node.outputs[0].replace_all_uses_with(graph.initializers[name])
            graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)
