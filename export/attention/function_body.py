"""Writes the body of an ONNX local function, and of the Scans inside it, node by node.

A function's body knows no shapes by itself: what it needs of them it reads at run time, or its author knows them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from memscan.export.nodes.emitter import HALF, Emitter
from memscan.export.nodes.shapes import Dim

OPSET = 23
"""Version of the default domain that bodies are written in."""


class Body(Emitter):
    """An emitter into a graph of its own; all nested bodies of one function draw their names from one counter.

    Args:
        dtype: of the tensors that the function takes and returns.
    """

    def __init__(self, dtype: ir.DataType, numbers: Iterator[int] | None = None) -> None:
        super().__init__(ir.Graph((), (), nodes=()))
        self.dtype = dtype
        self._numbers = self._numbers if numbers is None else numbers

    def constant(self, array: np.ndarray) -> ir.Value:
        """A constant as a node: functions have no initializers."""
        return self.op("Constant", value=ir.tensor(array))

    def number(self, value: "float | ir.Attr") -> ir.Value:
        """A scalar in the function's dtype, or the value of one of its attributes."""
        scalar = self.op("Constant", value_float=value)
        return scalar if self.dtype == ir.DataType.FLOAT else self.cast(scalar, self.dtype)

    def split(self, x: ir.Value, *widths: int) -> tuple[ir.Value, ...]:
        """Parts of the last axis."""
        return self.ops("Split", x, self.ints(*widths), outputs=len(widths), axis=-1)

    def accumulator(self, x: ir.Value) -> ir.Value:
        """`x` in a dtype fit for sums: float32 for half precision, else `x` itself."""
        return self.cast(x, ir.DataType.FLOAT) if self.dtype in HALF else x

    def narrow(self, x: ir.Value) -> ir.Value:
        """What `accumulator` widened, in the function's dtype again."""
        return self.cast(x, self.dtype) if self.dtype in HALF else x

    def softmax(self, x: ir.Value) -> ir.Value:
        """Softmax over the last axis, its sums in float32 at least."""
        return self.narrow(self.op("Softmax", self.accumulator(x), axis=-1))

    def row_sum(self, x: ir.Value) -> ir.Value:
        """Sum over the last axis, which stays as 1, in the dtype of `accumulator`."""
        return self.op("ReduceSum", self.accumulator(x), self.ints(-1), keepdims=1)

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
        body = Body(self.dtype, self._numbers)
        arguments = [ir.Value(name=f"in_{next(self._numbers)}") for _ in (*state, *slices)]
        outputs = step(body, *arguments)
        body.graph.inputs.extend(arguments)
        body.graph.outputs.extend(outputs)
        body.graph.name = f"{step.__name__.strip('_')}_{next(self._numbers)}"
        return self.ops("Scan", *state, *slices, outputs=len(outputs), body=body.graph, num_scan_inputs=len(slices))

    def function(
        self, domain: str, name: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], overload: str = ""
    ) -> ir.Function:
        """The finished function of one attribute, `scale`."""
        self.graph.inputs.extend(inputs)
        self.graph.outputs.extend(outputs)
        self.graph.name = name
        self.graph.opset_imports[""] = OPSET
        scale = ir.Attr("scale", ir.AttributeType.FLOAT, None)
        return ir.Function(domain, name, overload, graph=self.graph, attributes=[scale])

    def _infer(self, node: ir.Node, shape: Sequence[Dim | str] | None) -> None:
        """Nothing is known of the operands."""
