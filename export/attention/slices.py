"""Attention with tangents for ONNX Runtime: Scans over slices, so that K-fold scores exist for one block only.

The formula is that of `attention.functions`, head by head (a Scan over N * H). The probabilities P of a block of rows
are made for all keys; then block after block of them meets all K tangents while it is in the cache:

    W = P * ([q_dot, scale q] [scale k, k_dot]^T),    W v and rowsum(W), added up over the blocks of keys

Blocks of keys, because products over rows of 4,096 run at about two thirds of the speed of products over rows of 512.
"""

from dataclasses import dataclass

import onnx_ir as ir

from memscan.export.attention.function_body import Body
from memscan.export.attention.functions import ATTENTION_JVP, ATTENTION_VALUE_JVP, DOMAIN, INPUTS, scale_of
from memscan.export.nodes.emitter import HALF

MAX_ROWS, MAX_KEYS = 256, 512
"""Of a block: a slice of 512 KiB in float32 and the P it meets share a core's second-level cache."""
MAX_TOGETHER = 2**19
"""Elements of a block's K-fold scores up to which its tangents are computed in one product instead of a Scan."""
LANES = 16
"""Columns that ONNX Runtime's matrix product computes at once with AVX-512."""


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of a call: K tangents (or none), H heads, M queries and S keys of size D, values of size Dv.

    `scores_move`: the tangents are of the scores too, and not of the values alone.
    """

    tangents: int
    heads: int
    queries: int
    keys: int
    size: int
    value_size: int
    scores_move: bool = True

    @property
    def scores(self) -> int:
        """Elements of the scores of one image, K-fold if they have tangents."""
        folds = max(self.tangents, 1) if self.scores_move else 1
        return folds * self.heads * self.queries * self.keys

    def __str__(self) -> str:
        return f"K{self.tangents}_H{self.heads}_M{self.queries}_S{self.keys}_D{self.size}_Dv{self.value_size}"


def sliced_attention(name: str, shape: AttentionShape, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Function:
    """The function `name` of `attention.functions.INPUTS` for one shape and any batch, with a body of Scans.

    Returns:
        An overload of the function, named after the shape.
    """
    body = Body(dtype)
    inputs = [ir.Value(name=name) for name in INPUTS[name]]
    slices = _Slices(shape, body, keys_move=name == ATTENTION_JVP)
    outputs = slices.all_heads_of_values(*inputs) if name == ATTENTION_VALUE_JVP else slices.all_heads(*inputs)
    return body.function(DOMAIN, name, inputs, outputs, overload=str(shape))


def block_length(length: int, limit: int) -> int:
    """The largest divisor of `length` up to `limit`, or `length` itself where that is under an eighth of `limit`."""
    longest = min(length, limit)
    best = max(divisor for divisor in range(1, longest + 1) if length % divisor == 0)
    return best if 8 * best >= longest else length


class _Slices:
    """The nested loops, from the outermost in: heads, blocks of m rows, J blocks of s keys, tangents.

    `keys_move`: keys and values have tangents too.
    """

    def __init__(self, shape: AttentionShape, body: Body, *, keys_move: bool) -> None:
        self.shape, self.body, self.keys_move = shape, body, keys_move
        self.rows, self.keys = block_length(shape.queries, MAX_ROWS), block_length(shape.keys, MAX_KEYS)
        self.row_blocks, self.key_blocks = shape.queries // self.rows, shape.keys // self.keys
        self.together = shape.tangents * self.rows * self.keys <= MAX_TOGETHER
        # A column of ones behind v gives the row sums for nothing, unless it opens a new lane; half would round them.
        self.ones_column = shape.value_size % LANES != 0 and body.dtype not in HALF
        self.scale = scale_of(body)

    def all_heads(self, q: ir.Value, k: ir.Value, v: ir.Value, *dots: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The function's inputs -> y [N, H, M, Dv], y_dot [K, N, H, M, Dv]."""
        body, shape = self.body, self.shape
        sizes = [(shape.queries, shape.size), (shape.keys, shape.size), (shape.keys, shape.value_size)]
        tangents = [
            body.reshape(body.transpose(x_dot, 1, 2, 0, 3, 4), -1, shape.tangents, *size)
            for x_dot, size in zip(dots, sizes, strict=False)
        ]
        y, y_dot = body.scan(self._head, *self._by_head(q, k, v), *tangents)
        y = body.reshape(y, -1, shape.heads, shape.queries, shape.value_size)
        y_dot = body.reshape(y_dot, -1, shape.heads, shape.tangents, shape.queries, shape.value_size)
        return y, body.transpose(y_dot, 2, 0, 1, 3, 4)

    def all_heads_of_values(self, q: ir.Value, k: ir.Value, v: ir.Value, v_dot: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The same where only the values have tangents: attention of [v_dot_1 .. v_dot_K, v]."""
        body, shape = self.body, self.shape
        q, k, v = self._by_head(q, k, v)
        width = shape.tangents * shape.value_size
        beside = body.reshape(body.transpose(v_dot, 1, 2, 3, 0, 4), -1, shape.keys, width)
        (y,) = body.scan(self._head_of_values, q, k, body.op("Concat", beside, v, axis=-1))
        y_dot, y = body.split(y, width, shape.value_size)
        y = body.reshape(y, -1, shape.heads, shape.queries, shape.value_size)
        y_dot = body.reshape(y_dot, -1, shape.heads, shape.queries, shape.tangents, shape.value_size)
        return y, body.transpose(y_dot, 3, 0, 1, 2, 4)

    def _by_head(self, q: ir.Value, k: ir.Value, v: ir.Value) -> list[ir.Value]:
        shape = self.shape
        sizes = [(shape.queries, shape.size), (shape.keys, shape.size), (shape.keys, shape.value_size)]
        return [self.body.reshape(x, -1, *size) for x, size in zip((q, k, v), sizes, strict=True)]

    def _head_of_values(self, body: Body, q: ir.Value, k: ir.Value, values: ir.Value) -> tuple[ir.Value]:
        """q [M, D], k [S, D], values [S, (K + 1) Dv] -> P values [M, (K + 1) Dv]."""
        keys = body.transpose(body.op("Mul", k, self.scale), 1, 0)

        def rows(body: Body, q: ir.Value) -> tuple[ir.Value]:
            return (body.op("MatMul", body.softmax(body.op("MatMul", q, keys)), values),)

        if self.row_blocks == 1:
            return rows(body, q)
        (y,) = body.scan(rows, body.reshape(q, self.row_blocks, self.rows, self.shape.size))
        return (body.reshape(y, self.shape.queries, (self.shape.tangents + 1) * self.shape.value_size),)

    def _head(
        self, body: Body, q: ir.Value, k: ir.Value, v: ir.Value, q_dot: ir.Value, *key_dots: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """q [M, D], k [S, D], v [S, Dv], tangents with a leading K -> y [M, Dv], y_dot [K, M, Dv]."""
        shape = self.shape
        keys = right = body.op("Mul", k, self.scale)
        values = v
        if self.keys_move:
            k_dot, v_dot = key_dots
            every = body.op("Expand", keys, body.ints(shape.tangents, shape.keys, shape.size))
            right = body.op("Concat", every, k_dot, axis=-1)
            side_by_side = body.reshape(body.transpose(v_dot, 1, 0, 2), shape.keys, shape.tangents * shape.value_size)
            values = body.op("Concat", side_by_side, v, axis=-1)
        summed = v
        if self.ones_column:
            summed = body.op("Concat", v, body.op("Expand", body.number(1.0), body.ints(shape.keys, 1)), axis=-1)
        right = self._key_blocks(body, right, shape.size * (1 + self.keys_move), moves=self.keys_move)
        summed = self._key_blocks(body, summed, shape.value_size + self.ones_column)

        def rows(body: Body, q: ir.Value, q_dot: ir.Value) -> tuple[ir.Value, ir.Value]:
            """q [m, D], q_dot [K, m, D] -> y [m, Dv], y_dot [K, m, Dv]."""
            p = body.softmax(body.op("MatMul", q, body.transpose(keys, 1, 0)))
            y, p_v_dot = self._weighted_values(body, body.op("MatMul", p, values))
            left = q_dot
            if self.keys_move:
                every = body.op("Expand", body.op("Mul", q, self.scale), body.op("Shape", q_dot))
                left = body.op("Concat", q_dot, every, axis=-1)
            w_v, row_sum = self._sum_over_keys(body, left, p, right, summed)
            y_dot = body.narrow(body.op("Sub", w_v, body.op("Mul", row_sum, body.accumulator(y))))
            return y, y_dot if p_v_dot is None else body.op("Add", y_dot, p_v_dot)

        if self.row_blocks == 1:
            return rows(body, q, q_dot)
        q = body.reshape(q, self.row_blocks, self.rows, shape.size)
        q_dot = body.reshape(q_dot, shape.tangents, self.row_blocks, self.rows, shape.size)
        y, y_dot = body.scan(rows, q, body.transpose(q_dot, 1, 0, 2, 3))
        y_dot = body.reshape(body.transpose(y_dot, 1, 0, 2, 3), shape.tangents, shape.queries, shape.value_size)
        return body.reshape(y, shape.queries, shape.value_size), y_dot

    def _weighted_values(self, body: Body, product: ir.Value) -> tuple[ir.Value, ir.Value | None]:
        """P [v_dot_1 .. v_dot_K, v] `[m, (K + 1) Dv]` -> P v [m, Dv], P v_dot [K, m, Dv]."""
        if not self.keys_move:
            return product, None
        tangents, width = self.shape.tangents, self.shape.value_size
        p_v_dot, y = body.split(product, tangents * width, width)
        return y, body.transpose(body.reshape(p_v_dot, self.rows, tangents, width), 1, 0, 2)

    def _sum_over_keys(
        self, body: Body, left: ir.Value, p: ir.Value, right: ir.Value, summed: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """W v [K, m, Dv] and rowsum(W) [K, m, 1] of a block of rows, in the dtype of `accumulator`."""

        def add(body: Body, *values: ir.Value) -> tuple[ir.Value, ...]:
            *totals, p, right, summed = values
            terms = self._all_tangents(body, left, p, right, summed)
            return tuple(body.op("Add", total, term) for total, term in zip(totals, terms, strict=True))

        if self.key_blocks == 1:
            sums = self._all_tangents(body, left, p, right, summed)
        else:
            p_blocks = body.transpose(body.reshape(p, self.rows, self.key_blocks, self.keys), 1, 0, 2)
            zero = body.accumulator(body.number(0.0))
            widths = (self.shape.value_size + 1,) if self.ones_column else (self.shape.value_size, 1)
            state = [body.op("Expand", zero, body.ints(self.shape.tangents, self.rows, width)) for width in widths]
            sums = body.scan(add, p_blocks, right, summed, state=state)
        w_v, row_sum = body.split(sums[0], self.shape.value_size, 1) if self.ones_column else sums
        return w_v, row_sum

    def _all_tangents(
        self, body: Body, left: ir.Value, p: ir.Value, right: ir.Value, summed: ir.Value
    ) -> tuple[ir.Value, ...]:
        """One block: left [K, m, 2D], p [m, s], right [K, s, 2D], summed [s, Dv] -> its terms of W v and rowsum(W).

        Where keys have no tangent, left is [K, m, D] and right [s, D]; a column of ones makes the terms one tensor.
        """

        def terms(body: Body, left: ir.Value, right: ir.Value, *perm: int) -> tuple[ir.Value, ...]:
            w = body.op("Mul", body.op("MatMul", left, body.transpose(right, *perm)), p)
            w_v = body.accumulator(body.op("MatMul", w, summed))
            return (w_v,) if self.ones_column else (w_v, body.row_sum(w))

        def one_tangent(body: Body, left: ir.Value, *its_own: ir.Value) -> tuple[ir.Value, ...]:
            return terms(body, left, its_own[0] if its_own else right, 1, 0)

        if self.together:
            return terms(body, left, right, *((0, 2, 1) if self.keys_move else (1, 0)))
        return body.scan(one_tangent, left, *([right] if self.keys_move else []))

    def _key_blocks(self, body: Body, x: ir.Value, width: int, *, moves: bool = False) -> ir.Value:
        """[S, width] -> [J, s, width], or [K, S, width] -> [J, K, s, width], where there are J > 1 blocks of keys."""
        if self.key_blocks == 1:
            return x
        if not moves:
            return body.reshape(x, self.key_blocks, self.keys, width)
        return body.transpose(body.reshape(x, self.shape.tangents, self.key_blocks, self.keys, width), 1, 0, 2, 3)
