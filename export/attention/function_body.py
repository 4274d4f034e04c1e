"""Writes the body of an ONNX local function, and of the Scans inside it, node by node.

A function's body knows no shapes by itself: what it needs of them it reads at run time, or its author knows them.
"""

import itertools
from collections.abc import Callable, Sequence

import onnx_ir as ir

OPSET = 23
"""Version of the default domain that bodies are written in."""

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class Body:
    """Nodes under construction; all nested bodies of one function draw their names from one counter.

    Args:
        dtype: of the tensors that the function takes and returns.
    """

    def __init__(self, dtype: ir.DataType, counter: "itertools.count[int] | None" = None) -> None:
        self.dtype = dtype
        self._counter = itertools.count() if counter is None else counter
        self._nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: ir.Value, **attributes: "float | Sequence[int] | ir.Attr") -> ir.Value:
        """Emit a node with one output."""
        return self._emit(ir.node(op_type, inputs, attributes))[0]

    def ints(self, *values: int) -> ir.Value:
        """A vector of int64: axes, a shape."""
        return self.op("Constant", value_ints=values)

    def number(self, value: "float | ir.Attr") -> ir.Value:
        """A scalar in the function's dtype, or the value of one of its attributes."""
        scalar = self.op("Constant", value_float=value)
        return scalar if self.dtype == ir.DataType.FLOAT else self.op("Cast", scalar, to=self.dtype.value)

    def reshape(self, x: ir.Value, *dims: int) -> ir.Value:
        """Reshape; a -1 is inferred, a 0 is copied."""
        return self.op("Reshape", x, self.ints(*dims))

    def transpose(self, x: ir.Value, *perm: int) -> ir.Value:
        """Permute the axes."""
        return self.op("Transpose", x, perm=perm)

    def split(self, x: ir.Value, *widths: int) -> tuple[ir.Value, ...]:
        """Parts of the last axis."""
        return self._emit(ir.node("Split", [x, self.ints(*widths)], {"axis": -1}, num_outputs=len(widths)))

    def wide(self, x: ir.Value) -> ir.Value:
        """`x` in a dtype fit for sums: float32 for half precision, else `x` itself."""
        return self.op("Cast", x, to=ir.DataType.FLOAT.value) if self.dtype in HALF else x

    def narrow(self, x: ir.Value) -> ir.Value:
        """What `wide` widened, in the function's dtype again."""
        return self.op("Cast", x, to=self.dtype.value) if self.dtype in HALF else x

    def softmax(self, x: ir.Value) -> ir.Value:
        """Softmax over the last axis, its sums in float32 at least."""
        return self.narrow(self.op("Softmax", self.wide(x), axis=-1))

    def row_sum(self, x: ir.Value) -> ir.Value:
        """Sum over the last axis, which stays as 1, in the dtype of `wide`."""
        return self.op("ReduceSum", self.wide(x), self.ints(-1), keepdims=1)

    def scan(
        self,
        step: "Callable[..., tuple[ir.Value, ...]]",
        *slices: ir.Value,
        state: Sequence[ir.Value] = (),
    ) -> tuple[ir.Value, ...]:
        """Run `step` over the first axis of `slices`.

        Args:
            step: `step(body, *state, *slices) -> (*state, *outputs)`, given a nested body. It may use any value of the
                bodies around it.
            slices: tensors of equal first dimension.
            state: initial values of what is handed from step to step.

        Returns:
            The last state, and the outputs of all steps, stacked.
        """
        body = Body(self.dtype, self._counter)
        arguments = [ir.Value(name=f"in_{next(self._counter)}") for _ in (*state, *slices)]
        outputs = step(body, *arguments)
        graph = ir.Graph(
            arguments, outputs, nodes=body._nodes, name=f"{step.__name__.strip('_')}_{next(self._counter)}"
        )
        attributes: dict[str, ir.Graph | int] = {"body": graph, "num_scan_inputs": len(slices)}
        return self._emit(ir.node("Scan", [*state, *slices], attributes, num_outputs=len(outputs)))

    def function(
        self, domain: str, name: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], overload: str = ""
    ) -> ir.Function:
        """The finished function of one attribute, `scale`."""
        graph = ir.Graph(inputs, outputs, nodes=self._nodes, opset_imports={"": OPSET}, name=name)
        scale = ir.Attr("scale", ir.AttributeType.FLOAT, None)
        return ir.Function(domain, name, overload, graph=graph, attributes=[scale])

    def _emit(self, node: ir.Node) -> tuple[ir.Value, ...]:
        for value in node.outputs:
            value.name = f"{node.op_type}_{next(self._counter)}"
        self._nodes.append(node)
        return tuple(node.outputs)
