"""Attention with tangents as ONNX local functions: one node in the graph, whose body is made of plain operators.

With scores s = scale q k^T, probabilities P = softmax(s) and y = P v,

    s_dot = scale (q_dot k^T + q k_dot^T)
    W     = P * s_dot
    y_dot = W v - rowsum(W) y + P v_dot

P is computed once for all K tangents. q `[N, H, M, D]`, k `[N, H, S, D]`, v `[N, H, S, D]`; tangents have a leading K.
An engine with a faster kernel replaces the function's body, or the node, by its name.
"""

import onnx_ir as ir

DOMAIN = "memscan"
OPSET = 23
"""Version of the default domain that the bodies are written in."""


def attention_jvp() -> ir.Function:
    """`AttentionJvp(q, k, v, q_dot, k_dot, v_dot; scale) -> (y, y_dot)`: self-attention."""
    body = _Body("q", "k", "v", "q_dot", "k_dot", "v_dot")
    scaled, keys, p, y = body.primal()
    # One product [q_dot, q] [k; k_dot]^T instead of two and their K-fold sum.
    wide_q = body.op("Expand", scaled, body.op("Shape", body["q_dot"]))
    wide_k = body.op("Expand", keys, body.op("Shape", body.transposed("k_dot")))
    left = body.op("Concat", body.scaled("q_dot"), wide_q, axis=-1)
    right = body.op("Concat", wide_k, body.transposed("k_dot"), axis=-2)
    y_dot = body.op("Add", body.weighted(p, y, body.op("MatMul", left, right)), body.op("MatMul", p, body["v_dot"]))
    return body.function("AttentionJvp", y, y_dot)


def attention_query_jvp() -> ir.Function:
    """`AttentionQueryJvp(q, k, v, q_dot; scale) -> (y, y_dot)`: cross-attention, whose keys and values are fixed."""
    body = _Body("q", "k", "v", "q_dot")
    _, keys, p, y = body.primal()
    y_dot = body.weighted(p, y, body.op("MatMul", body.scaled("q_dot"), keys))
    return body.function("AttentionQueryJvp", y, y_dot)


class _Body:
    def __init__(self, *inputs: str) -> None:
        self.inputs = {name: ir.Value(name=name) for name in inputs}
        self.nodes: list[ir.Node] = []
        self.scale = self._scale()

    def __getitem__(self, name: str) -> ir.Value:
        return self.inputs[name]

    def op(self, op_type: str, *inputs: ir.Value, **attributes: "int | float | list[int] | ir.Attr") -> ir.Value:
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def scaled(self, name: str) -> ir.Value:
        return self.op("Mul", self[name], self.scale)

    def transposed(self, name: str) -> ir.Value:
        rank = 5 if name.endswith("_dot") else 4
        return self.op("Transpose", self[name], perm=[*range(rank - 2), rank - 1, rank - 2])

    def primal(self) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
        scaled, keys = self.scaled("q"), self.transposed("k")
        p = self.op("Softmax", self.op("MatMul", scaled, keys), axis=-1)
        return scaled, keys, p, self.op("MatMul", p, self["v"])

    def weighted(self, p: ir.Value, y: ir.Value, s_dot: ir.Value) -> ir.Value:
        w = self.op("Mul", s_dot, p)
        axis = self.op("Constant", value_ints=[-1])
        row_sum = self.op("ReduceSum", w, axis, keepdims=1)
        return self.op("Sub", self.op("MatMul", w, self["v"]), self.op("Mul", row_sum, y))

    def function(self, name: str, *outputs: ir.Value) -> ir.Function:
        graph = ir.Graph(list(self.inputs.values()), outputs, nodes=self.nodes, opset_imports={"": OPSET}, name=name)
        scale = ir.Attr("scale", ir.AttributeType.FLOAT, None)
        return ir.Function(DOMAIN, name, graph=graph, attributes=[scale])

    def _scale(self) -> ir.Value:
        scale = self.op("Constant", value_float=ir.RefAttr("value_float", "scale", ir.AttributeType.FLOAT))
        return self.op("CastLike", scale, self["q"])
