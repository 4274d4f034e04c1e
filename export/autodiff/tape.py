"""The tape that a rule writes on: nodes of the default domain, with shapes and dtypes inferred as they are emitted.

A tape also knows the few moves that a leading tangent axis K asks for: `fold` and `unfold` (K into the batch and back),
`align` (equal rank with the primal), `like` (broadcast to `(K, *y.shape)`), `zeros`, and float32 accumulation. It
spares K-fold work where algebra allows: chains of reshapes become one, and factors without K are gathered before they
meet a tangent, (t a) b = t (a b) and t a + t b = t (a + b), which turns e.g. a normalization's scale and the derivative
of the SiLU behind it into a single product.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from memscan.export.autodiff.shapes import Dim, dtype_of, infer_outputs, shape_of
from memscan.scanner.errors import ExportError

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class Tape:
    """Emits the nodes of one differentiation, rule by rule: `begin`, what the rule does, `end`.

    Constants go to the graph directly, one for each distinct value.

    Args:
        graph: the graph that will hold the nodes; it has an import of the default domain.
        num_tangents: K.
    """

    def __init__(self, graph: ir.Graph, num_tangents: int) -> None:
        self.graph = graph
        self.num_tangents = num_tangents
        self.superseded: dict[ir.Value, ir.Value] = {}
        self._scope = ""
        self._nodes: list[ir.Node] = []
        self._factors: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def begin(self, scope: str) -> None:
        """Start a rule; the names of its values begin with `scope`, which is unique in the graph."""
        self._scope = scope

    def end(self) -> list[ir.Node]:
        """The nodes emitted since the last `end`, in order."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def op(
        self, op_type: str, *inputs: ir.Value | None, shape: Sequence[Dim] | None = None, **attributes: Any
    ) -> ir.Value:
        """Emit a node with one output. `shape` states an output shape that inference cannot know, e.g. `[8*N, 4]`."""
        return self.ops(op_type, *inputs, num_outputs=1, shape=shape, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        num_outputs: int,
        shape: Sequence[Dim] | None = None,
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Emit a node with several outputs."""
        node = self._append(ir.node(op_type, inputs, attributes, num_outputs=num_outputs))
        infer_outputs(node, self.graph.opset_imports[""])
        if shape is not None:
            node.outputs[0].shape = ir.Shape(shape)
        return tuple(node.outputs)

    def call(
        self, domain: str, function: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """Emit a call of a local function; its outputs take shape and dtype of the values `outputs`."""
        node = self._append(ir.node(function, inputs, attributes, domain=domain, num_outputs=len(outputs)))
        for value, like in zip(node.outputs, outputs, strict=True):
            value.shape, value.type = like.shape, like.type
        return tuple(node.outputs)

    def supersede(self, old: ir.Value, new: ir.Value) -> None:
        """Let `new`, an equal value, take the place of the primal value `old` everywhere."""
        self.superseded[old] = new

    def constant(self, array: np.ndarray) -> ir.Value:
        """A small constant as an initializer."""
        name = f"{array.dtype.name}({array.tolist()})"
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

    def scale(self, t: ir.Value, factor: ir.Value) -> ir.Value:
        """`t * factor` for a tangent `t` and a `factor` that has no axis K; factors of factors are gathered."""
        if t in self._factors:
            t, earlier = self._factors[t]
            factor = self.op("Mul", earlier, factor)
        product = self.op("Mul", t, factor)
        self._factors[product] = (t, factor)
        return product

    def add(self, *terms: ir.Value) -> ir.Value:
        """The sum of one or more tangents; multiples of the same tangent have their factors summed."""
        total, *rest = terms
        for term in rest:
            t, factor = self._factors.get(total, (None, None))
            other, other_factor = self._factors.get(term, (None, None))
            if t is not None and t is other:
                total = self.scale(t, self.op("Add", factor, other_factor))
            else:
                total = self.op("Add", total, term)
        return total

    def reshape(self, x: ir.Value, dims: Sequence[Dim]) -> ir.Value:
        """Reshape `x` to `dims`, of which at most one is symbolic; a reshaped `x` is taken from its source."""
        producer = x.producer()
        if producer is not None and producer.op_type == "Reshape" and producer.inputs[0] is not None:
            x = producer.inputs[0]
        if shape_of(x) == tuple(dims):
            return x
        target = [dim if isinstance(dim, int) else -1 for dim in dims]
        if target.count(-1) > 1:
            raise ExportError(f"{x.name} cannot be reshaped to {tuple(dims)}: more than one dimension is symbolic")
        return self.op("Reshape", x, self.ints(*target), shape=dims)

    def fold(self, x_dot: ir.Value) -> ir.Value:
        """`[K, N, ...]` -> `[K*N, ...]`, for operators that know one batch axis only."""
        _, batch, *rest = shape_of(x_dot)
        folded = self.num_tangents * batch if isinstance(batch, int) else ir.SymbolicDim(f"{self.num_tangents}*{batch}")
        return self.reshape(x_dot, [folded, *rest])

    def unfold(self, folded: ir.Value, y: ir.Value) -> ir.Value:
        """`[K*N, ...]` -> `(K, *y.shape)`."""
        return self.reshape(folded, [self.num_tangents, *shape_of(y)])

    def align(self, x_dot: ir.Value, rank: int) -> ir.Value:
        """Insert axes behind K so that `x_dot` broadcasts against primal values of rank `rank` from the right."""
        missing = rank + 1 - len(shape_of(x_dot))
        return self.op("Unsqueeze", x_dot, self.ints(*range(1, 1 + missing))) if missing > 0 else x_dot

    def like(self, x_dot: ir.Value, y: ir.Value) -> ir.Value:
        """Broadcast `x_dot` to `(K, *y.shape)`; nothing is emitted where it has that shape already."""
        dims = (self.num_tangents, *shape_of(y))
        if shape_of(x_dot) == dims:
            return x_dot
        if all(isinstance(dim, int) for dim in dims):
            target = self.ints(*(dim for dim in dims if isinstance(dim, int)))
        else:
            target = self.op("Concat", self.ints(self.num_tangents), self.op("Shape", y), axis=0)
        return self.op("Expand", self.align(x_dot, len(dims) - 1), target, shape=dims)

    def zeros(self, y: ir.Value) -> ir.Value:
        """A zero tangent of `y`, written out: `(K, *y.shape)`."""
        return self.like(self.op("Unsqueeze", self.scalar(0, y), self.ints(0)), y)

    def accumulator(self, x: ir.Value) -> ir.Value:
        """`x` in a dtype fit for sums: float32 for half precision, else `x` itself."""
        return self.cast(x, ir.DataType.FLOAT) if dtype_of(x) in _HALF else x

    def cast(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`x` in `dtype`; nothing is emitted where it has that dtype already."""
        return x if dtype_of(x) == dtype else self.op("Cast", x, to=dtype)

    def _append(self, node: ir.Node) -> ir.Node:
        node.name = f"{self._scope}/{len(self._nodes)}_{node.op_type}"
        for index, value in enumerate(node.outputs):
            value.name = f"{node.name}_{index}" if index else node.name
        self._nodes.append(node)
        return node
