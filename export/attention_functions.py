"""Attention with tangents as ONNX local functions: one node in the graph, whose body is made of plain operators.

With scores s = scale q k^T, probabilities P = softmax(s) and y = P v,

    s_dot = scale (q_dot k^T + q k_dot^T)
    W     = P * s_dot
    y_dot = W v - rowsum(W) y + P v_dot

P is computed once for all K tangents. q `[N, H, M, D]`, k `[N, H, S, D]`, v `[N, H, S, D]`; tangents have a leading K.
An engine with a faster kernel replaces the function's body, or the node, by its name.
"""

from collections.abc import Sequence

import onnx_ir as ir

DOMAIN = "memscan"
OPSET = 23
"""Version of the default domain that the bodies are written in."""


def attention_jvp() -> ir.Function:
    """`AttentionJvp(q, k, v, q_dot, k_dot, v_dot; scale) -> (y, y_dot)`: self-attention."""
    body = _Body("q", "k", "v", "q_dot", "k_dot", "v_dot")
    q, keys = body.scaled("q"), body.transposed("k")
    p = body.op("Softmax", body.op("MatMul", q, keys), axis=-1)
    y = body.op("MatMul", p, body["v"])

    # s_dot is one product, [q_dot, q] [k, k_dot]^T, not two and their K-fold sum.
    keys_dot = body.transposed("k_dot")
    left = body.op("Concat", body.scaled("q_dot"), body.op("Expand", q, body.op("Shape", body["q_dot"])), axis=-1)
    right = body.op("Concat", body.op("Expand", keys, body.op("Shape", keys_dot)), keys_dot, axis=-2)
    w = body.op("Mul", body.op("MatMul", left, right), p)

    # A column of ones behind v makes the row sums part of the product W v.
    ones = body.op("Expand", body.op("CastLike", body.ints(1), y), body.rows("v"))
    widths = body.op("Concat", body.width("v"), body.ints(1), axis=0)
    w_v, row_sum = body.split(body.op("MatMul", w, body.op("Concat", body["v"], ones, axis=-1)), widths)

    # P [v_dot_1 .. v_dot_K] is one product, which reads P once: K lies beside D and moves back in front.
    side_by_side = body.op("Transpose", body["v_dot"], perm=[1, 2, 3, 0, 4])
    p_v_dot = body.op("MatMul", p, body.op("Reshape", side_by_side, body.ints(0, 0, 0, -1)))
    apart = body.op("Reshape", p_v_dot, body.op("Concat", body.ints(0, 0, 0, -1), body.width("v"), axis=0))
    p_v_dot = body.op("Transpose", apart, perm=[3, 0, 1, 2, 4])

    y_dot = body.op("Add", body.op("Sub", w_v, body.op("Mul", row_sum, y)), p_v_dot)
    return body.function("AttentionJvp", y, y_dot)


def attention_query_jvp() -> ir.Function:
    """`AttentionQueryJvp(q, k, v, q_dot; scale) -> (y, y_dot)`: cross-attention, whose keys and values are fixed."""
    body = _Body("q", "k", "v", "q_dot")
    keys = body.transposed("k")
    p = body.op("Softmax", body.op("MatMul", body.scaled("q"), keys), axis=-1)
    y = body.op("MatMul", p, body["v"])
    w = body.op("Mul", body.op("MatMul", body.scaled("q_dot"), keys), p)
    row_sum = body.op("ReduceSum", w, body.ints(-1), keepdims=1)
    y_dot = body.op("Sub", body.op("MatMul", w, body["v"]), body.op("Mul", row_sum, y))
    return body.function("AttentionQueryJvp", y, y_dot)


class _Body:
    """A function's body under construction. It knows ranks but no sizes: those are read at run time."""

    def __init__(self, *inputs: str) -> None:
        self._inputs = {name: ir.Value(name=name) for name in inputs}
        self._nodes: list[ir.Node] = []
        scale = self.op("Constant", value_float=ir.RefAttr("value_float", "scale", ir.AttributeType.FLOAT))
        self._scale = self.op("CastLike", scale, self["q"])

    def __getitem__(self, name: str) -> ir.Value:
        return self._inputs[name]

    def op(self, op_type: str, *inputs: ir.Value, **attributes: "float | Sequence[int] | ir.Attr") -> ir.Value:
        return self._emit(ir.node(op_type, inputs, attributes))[0]

    def split(self, x: ir.Value, widths: ir.Value) -> tuple[ir.Value, ...]:
        return self._emit(ir.node("Split", [x, widths], {"axis": -1}, num_outputs=2))

    def ints(self, *values: int) -> ir.Value:
        return self.op("Constant", value_ints=values)

    def scaled(self, name: str) -> ir.Value:
        return self.op("Mul", self[name], self._scale)

    def transposed(self, name: str) -> ir.Value:
        return self.op("Transpose", self[name], perm=[0, 1, 2, 4, 3] if name.endswith("_dot") else [0, 1, 3, 2])

    def width(self, name: str) -> ir.Value:
        return self.op("Shape", self[name], start=-1)

    def rows(self, name: str) -> ir.Value:
        return self.op("Concat", self.op("Shape", self[name], end=-1), self.ints(1), axis=0)

    def function(self, name: str, *outputs: ir.Value) -> ir.Function:
        graph = ir.Graph(list(self._inputs.values()), outputs, nodes=self._nodes, opset_imports={"": OPSET}, name=name)
        return ir.Function(DOMAIN, name, graph=graph, attributes=[ir.Attr("scale", ir.AttributeType.FLOAT, None)])

    def _emit(self, node: ir.Node) -> tuple[ir.Value, ...]:
        for index, value in enumerate(node.outputs):
            value.name = f"{node.op_type}_{len(self._nodes)}_{index}"
        self._nodes.append(node)
        return tuple(node.outputs)
