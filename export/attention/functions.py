"""Attention with tangents as ONNX local functions: one node in the graph, whose body every engine knows.

With scores s = scale q k^T, probabilities P = softmax(s) and y = P v,

    s_dot = scale (q_dot k^T + q k_dot^T)
    W     = P * s_dot
    y_dot = W v - rowsum(W) y + P v_dot

P is computed once for all K tangents. q `[N, H, M, D]`, k `[N, H, S, D]`, v `[N, H, S, D]`; tangents have a leading K.
Softmax and row sums run in float32 at least, products in the graph's dtype. An engine with a faster kernel replaces
the function's body, or the node, by its name. The bodies here are whole: they form all K-fold scores at once; those
of `attention.slices` are sliced.
"""

from collections.abc import Callable

import onnx_ir as ir

from memscan.export.attention.function_body import Body
from memscan.export.nodes.emitter import HALF

DOMAIN = "memscan"
ATTENTION_JVP = "AttentionJvp"
ATTENTION_QUERY_JVP = "AttentionQueryJvp"
ATTENTION_VALUE_JVP = "AttentionValueJvp"
INPUTS = {
    ATTENTION_JVP: ("q", "k", "v", "q_dot", "k_dot", "v_dot"),
    ATTENTION_QUERY_JVP: ("q", "k", "v", "q_dot"),
    ATTENTION_VALUE_JVP: ("q", "k", "v", "v_dot"),
}
"""`AttentionJvp(...; scale) -> (y, y_dot)` is self-attention; `AttentionQueryJvp` has fixed keys and values, and
`AttentionValueJvp` fixed weights P, so that y_dot = P v_dot."""


def attention_function(name: str, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Function:
    """The function `name` of `INPUTS` with a whole body, for any shapes.

    Args:
        name: one of `INPUTS`.
        dtype: of all its inputs and outputs.
    """
    body = Body(dtype)
    inputs = [ir.Value(name=name) for name in INPUTS[name]]
    return body.function(DOMAIN, name, inputs, _COMPUTE[name](body, scale_of(body), *inputs))


def scale_of(body: Body) -> ir.Value:
    """The function's attribute `scale`."""
    return body.number(ir.RefAttr("value_float", "scale", ir.AttributeType.FLOAT))


def _attention_jvp(
    body: Body,
    scale: ir.Value,
    q: ir.Value,
    k: ir.Value,
    v: ir.Value,
    q_dot: ir.Value,
    k_dot: ir.Value,
    v_dot: ir.Value,
) -> tuple[ir.Value, ir.Value]:
    q, keys = body.op("Mul", q, scale), body.transpose(k, 0, 1, 3, 2)
    p = body.softmax(body.op("MatMul", q, keys))
    y = body.op("MatMul", p, v)

    # s_dot is one product, [q_dot, scale q] [scale k, k_dot]^T, not two and their K-fold sum.
    keys, keys_dot = body.op("Mul", keys, scale), body.transpose(k_dot, 0, 1, 2, 4, 3)
    left = body.op("Concat", q_dot, body.op("Expand", q, body.op("Shape", q_dot)), axis=-1)
    right = body.op("Concat", body.op("Expand", keys, body.op("Shape", keys_dot)), keys_dot, axis=-2)
    w = body.op("Mul", body.op("MatMul", left, right), p)

    p_v_dot = _apart(body, body.op("MatMul", p, _side_by_side(body, v_dot)), v)
    return y, body.op("Add", _centred(body, w, p, v, y), p_v_dot)


def _attention_query_jvp(
    body: Body, scale: ir.Value, q: ir.Value, k: ir.Value, v: ir.Value, q_dot: ir.Value
) -> tuple[ir.Value, ir.Value]:
    keys = body.op("Mul", body.transpose(k, 0, 1, 3, 2), scale)
    p = body.softmax(body.op("MatMul", q, keys))
    y = body.op("MatMul", p, v)
    return y, _centred(body, body.op("Mul", body.op("MatMul", q_dot, keys), p), p, v, y)


def _attention_value_jvp(
    body: Body, scale: ir.Value, q: ir.Value, k: ir.Value, v: ir.Value, v_dot: ir.Value
) -> tuple[ir.Value, ir.Value]:
    keys = body.op("Mul", body.transpose(k, 0, 1, 3, 2), scale)
    p = body.softmax(body.op("MatMul", q, keys))
    return body.op("MatMul", p, v), _apart(body, body.op("MatMul", p, _side_by_side(body, v_dot)), v)


_COMPUTE: dict[str, Callable[..., tuple[ir.Value, ir.Value]]] = {
    ATTENTION_JVP: _attention_jvp,
    ATTENTION_QUERY_JVP: _attention_query_jvp,
    ATTENTION_VALUE_JVP: _attention_value_jvp,
}


def _side_by_side(body: Body, v_dot: ir.Value) -> ir.Value:
    """[K, N, H, S, D] -> [N, H, S, K D]: P [v_dot_1 .. v_dot_K] is one product, which reads P once."""
    return body.op("Reshape", body.transpose(v_dot, 1, 2, 3, 0, 4), body.ints(0, 0, 0, -1))


def _apart(body: Body, p_v_dot: ir.Value, v: ir.Value) -> ir.Value:
    """[N, H, M, K D] -> [K, N, H, M, D]: K, which lay beside D, moves back in front."""
    dims = body.op("Concat", body.ints(0, 0, 0, -1), body.op("Shape", v, start=-1), axis=0)
    return body.transpose(body.op("Reshape", p_v_dot, dims), 3, 0, 1, 2, 4)


def _centred(body: Body, w: ir.Value, p: ir.Value, v: ir.Value, y: ir.Value) -> ir.Value:
    """W v - rowsum(W) y; in half precision as (W - rowsum(W) P) v, since W v alone may leave float16's range."""
    total = body.row_sum(w)
    if body.dtype in HALF:
        deviation = body.op("Sub", body.accumulator(w), body.op("Mul", total, body.accumulator(p)))
        return body.op("MatMul", body.narrow(deviation), v)
    return body.op("Sub", body.op("MatMul", w, v), body.op("Mul", total, y))
