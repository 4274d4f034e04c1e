"""The emitter: whoever adds nodes to a graph adds them through it, so that they have names, shapes and dtypes.

Nodes are of the default domain unless called from another. Their names begin with the emitter's scope, which whoever
opens it chooses such that it is unique in the graph.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from memscan.export.nodes.shapes import Dim, dtype_of, infer_outputs
from memscan.scanner.errors import ExportError

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class Emitter:
    """Emits nodes, in `scope`s, into a graph whose values have shapes and dtypes.

    Constants go to the graph directly, one for each distinct value.

    Args:
        graph: the graph that will hold the nodes; it has an import of the default domain.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._scope = ""
        self._numbers: Iterator[int] = itertools.count()
        self._nodes: list[ir.Node] | ir.Graph = graph

    @contextmanager
    def scope(
        self, name: str, *, before: ir.Node | None = None, after: ir.Node | None = None
    ) -> Iterator[list[ir.Node]]:
        """Emit nodes whose names begin with `name`; they join the graph when the scope is left without an error.

        Args:
            name: unique in the graph.
            before, after: the node, of the graph, that they are put beside; by default they go to the end.

        Returns:
            The nodes emitted so far.
        """
        outer = self._scope, self._numbers, self._nodes
        nodes: list[ir.Node] = []
        self._scope, self._numbers, self._nodes = f"{name}/", itertools.count(), nodes
        try:
            yield nodes
        finally:
            self._scope, self._numbers, self._nodes = outer
        if before is not None:
            self.graph.insert_before(before, nodes)
        elif after is not None:
            self.graph.insert_after(after, nodes)
        else:
            self.graph.extend(nodes)

    def op(
        self, op_type: str, *inputs: ir.Value | None, shape: Sequence[Dim | str] | None = None, **attributes: Any
    ) -> ir.Value:
        """Emit a node with one output. `shape` states an output shape that inference cannot know, e.g. `[8*N, 4]`."""
        return self.ops(op_type, *inputs, outputs=1, shape=shape, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        outputs: int,
        shape: Sequence[Dim | str] | None = None,
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Emit a node with several outputs, which all have the `shape` if one is stated."""
        node = self._append(ir.node(op_type, inputs, attributes, num_outputs=outputs))
        self._infer(node, shape)
        return tuple(node.outputs)

    def call(
        self, domain: str, function: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """Emit a call of a local function; its outputs take shape and dtype of the values `outputs`."""
        node = self._append(ir.node(function, inputs, attributes, domain=domain, num_outputs=len(outputs)))
        for value, like in zip(node.outputs, outputs, strict=True):
            value.shape, value.type = like.shape, like.type
        return tuple(node.outputs)

    def constant(self, array: np.ndarray) -> ir.Value:
        """A small constant as an initializer."""
        name = f"{array.dtype.name}({array.tolist() if array.size else f'of shape {array.shape}'})"
        found = self.graph.initializers.get(name)
        if found is not None:
            return found
        tensor = ir.Tensor(array, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def ints(self, *values: int) -> ir.Value:
        """A vector of int64: axes, a shape."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        """A scalar with the dtype of `like`."""
        return self.constant(np.array(number, dtype_of(like).numpy()))

    def reshape(self, x: ir.Value, *dims: Dim) -> ir.Value:
        """Reshape `x` to `dims`, of which at most one is symbolic or -1; a reshaped `x` is taken from its source."""
        producer = x.producer()
        if producer is not None and producer.op_type == "Reshape" and producer.inputs[0] is not None:
            x = producer.inputs[0]
        if x.shape is not None and x.shape.dims == dims:
            return x
        target = [dim if isinstance(dim, int) else -1 for dim in dims]
        if target.count(-1) > 1:
            raise ExportError(f"{x.name} cannot be reshaped to {dims}: more than one dimension is symbolic")
        return self.op("Reshape", x, self.ints(*target), shape=None if -1 in dims else dims)

    def transpose(self, x: ir.Value, *perm: int) -> ir.Value:
        """Permute the axes."""
        return self.op("Transpose", x, perm=perm)

    def accumulator(self, x: ir.Value) -> ir.Value:
        """`x` in a dtype fit for sums: float32 for half precision, else `x` itself."""
        return self.cast(x, ir.DataType.FLOAT) if dtype_of(x) in HALF else x

    def cast(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`x` in `dtype`; nothing is emitted where it has that dtype already."""
        return x if x.dtype == dtype else self.op("Cast", x, to=dtype)

    def _infer(self, node: ir.Node, shape: Sequence[Dim | str] | None) -> None:
        infer_outputs(node, self.graph.opset_imports[""])
        if shape is not None:
            for value in node.outputs:
                value.shape = ir.Shape(shape)

    def _append(self, node: ir.Node) -> ir.Node:
        node.name = f"{self._scope}{next(self._numbers)}_{node.op_type}"
        for index, value in enumerate(node.outputs):
            value.name = f"{node.name}_{index}" if index else node.name
        self._nodes.append(node)
        return node
