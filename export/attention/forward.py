"""Attention without tangents in slices, for ONNX Runtime: the scores of one block of rows of one head at a time.

At 4,096 tokens the score matrices of a guided step take 1 GiB an image; a slice takes 4 MiB, and stays in the cache
between the product that makes it, the softmax, and the product that consumes it.
"""

import onnx_ir as ir

from memscan.export.attention.function_body import Body
from memscan.export.attention.functions import DOMAIN, scale_of
from memscan.export.attention.slices import MAX_ROWS, AttentionShape, block_length

NAME = "Attention"


def sliced_forward(shape: AttentionShape, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Function:
    """`Attention(q, k, v; scale) -> y`, softmax(scale q k^T) v, for one shape without tangents and any batch.

    Returns:
        An overload of the function, named after the shape.
    """
    body = Body(dtype)
    q, k, v = (ir.Value(name=name) for name in ("q", "k", "v"))
    scale = scale_of(body)
    rows = block_length(shape.queries, MAX_ROWS)

    def head(body: Body, q: ir.Value, k: ir.Value, v: ir.Value) -> tuple[ir.Value]:
        """q [M, D], k [S, D], v [S, Dv] -> y [M, Dv]."""
        keys = body.transpose(body.op("Mul", k, scale), 1, 0)

        def block(body: Body, q: ir.Value) -> tuple[ir.Value]:
            return (body.op("MatMul", body.softmax(body.op("MatMul", q, keys)), v),)

        (y,) = body.scan(block, body.reshape(q, shape.queries // rows, rows, shape.size))
        return (body.reshape(y, shape.queries, shape.value_size),)

    (y,) = body.scan(
        head,
        body.reshape(q, -1, shape.queries, shape.size),
        body.reshape(k, -1, shape.keys, shape.size),
        body.reshape(v, -1, shape.keys, shape.value_size),
    )
    y = body.reshape(y, -1, shape.heads, shape.queries, shape.value_size)
    return body.function(DOMAIN, NAME, (q, k, v), (y,), overload=str(shape))
