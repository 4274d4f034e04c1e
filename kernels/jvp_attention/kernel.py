"""The Triton kernel: the tangents of one group of attention, in one pass over the keys.

The forward pass gives y and lse = log sum exp(s), so that every probability is known from its own score alone,

    p = exp(s - lse)      mu_k = sum p s_dot_k      o_dot_k = sum (p s_dot_k) v + p v_dot_k

tile after tile of keys, and at the end y_dot_k = o_dot_k - mu_k y. Scores, p and p s_dot are float32, and rounded to
the inputs' type for the products with values; every sum is float32. float16 has few exponents: there p is lifted by a
power of two, as far as a bound of s_dot allows p s_dot to stay in range, and y_dot is lowered by it.

Tensor cores take blocks whose sides are powers of two, so a row of D values is held as several column blocks,
40 = 32 + 8 (of 16), 80 = 64 + 16, 160 = 128 + 32: padding to one power of two costs up to 1.6 times the arithmetic.

Names: M queries, S keys, D head size; K tangents, G of them in a group; p_ pointer, i_ index, o_ offsets, b_ blocks.
"""

# mypy: allow-untyped-defs
# Parameters are Triton's values, whose types are those of the launch.

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
HEADROOM = tl.constexpr(15.0)
"""p s_dot stays below 2^15 in float16, whose largest number is just below 2^16."""


@triton.jit
def attention_jvp_kernel(
    p_q,
    p_k,
    p_v,
    p_q_dot,
    p_k_dot,
    p_v_dot,
    p_y,
    p_lse,
    p_y_dot,
    p_k_max,
    p_k_dot_max,
    q_strides,
    k_strides,
    v_strides,
    q_dot_strides,
    k_dot_strides,
    v_dot_strides,
    y_strides,
    lse_strides,
    q_row,
    q_dot_row,
    y_row,
    key_row,
    K,
    N,
    H,
    M,
    S,
    scale,
    D: tl.constexpr,
    BLOCKS: tl.constexpr,
    BM: tl.constexpr,
    BS: tl.constexpr,
    EVEN: tl.constexpr,
    G: tl.constexpr,
    ALIGNMENT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A tile of queries of one head, with one group of tangents.

    Args:
        p_q: `[N, H, M, D]`, and the other tensors, None for an absent tangent; neighbouring columns are adjacent.
        p_y: what the forward pass gave for the same q, k and v, shaped as q.
        p_lse: `[N, H, M]` float32, natural logarithm; neighbouring queries are adjacent.
        p_y_dot: output, in memory as `[K, N, M, H, D]`.
        p_k_max: largest |k|, `[N, H]`, and |k_dot|, `[K, N, H]`; None where p s_dot cannot overflow.
        q_strides: of (K,) N and H; all strides but those of lse are in units of ALIGNMENT elements.
        q_row: stride of queries; key_row is that of keys, values and their tangents, for one set of offsets
            instead of four is what lets the accumulators stay in registers.
        BLOCKS: (first column, width) of the column blocks that D is cut into.
        EVEN: whether BS divides S.
        PRECISION: of products of float32 inputs.
    """
    i_m = tl.program_id(0) % tl.cdiv(M, BM)
    i_group = tl.program_id(0) // tl.cdiv(M, BM) % tl.cdiv(K, G)
    i_nh = tl.program_id(0) // tl.cdiv(M, BM) // tl.cdiv(K, G)
    i_n = (i_nh // H).to(tl.int64)
    i_h = (i_nh % H).to(tl.int64)
    o_m = i_m * BM + tl.arange(0, BM)
    p_k = _head(p_k, k_strides, i_n, i_h, ALIGNMENT)
    p_v = _head(p_v, v_strides, i_n, i_h, ALIGNMENT)

    b_q = _load(_head(p_q, q_strides, i_n, i_h, ALIGNMENT), q_row * ALIGNMENT, o_m, M, D, BLOCKS)  # [BM, D]
    b_q_dot = []
    lift = tl.full([BM], HEADROOM if p_q.dtype.element_ty == tl.float16 else 0.0, tl.float32)
    for g in tl.static_range(G):
        i_k = _tangent(i_group, g, K, G)
        if p_q_dot is not None:
            p_tangent = _tangent_head(p_q_dot, q_dot_strides, i_k, i_n, i_h, ALIGNMENT)
            b_q_dot += [_load(p_tangent, q_dot_row * ALIGNMENT, o_m, M, D, BLOCKS)]  # G x [BM, D]
        if p_k_max is not None:
            # |s_dot| <= scale (|q_dot|_1 |k|_max + |q|_1 |k_dot|_max), Hoelder's inequality
            bound = tl.zeros([BM], tl.float32)
            if p_q_dot is not None:
                bound += _row_norm(b_q_dot[g]) * tl.load(p_k_max + i_nh)
            if p_k_dot is not None:
                bound += _row_norm(b_q) * tl.load(p_k_dot_max + i_k * N * H + i_nh)
            lift = tl.minimum(lift, HEADROOM - tl.ceil(tl.log2(tl.maximum(bound * scale, 1.0))))

    p_lse += i_n * lse_strides[0] + i_h * lse_strides[1]
    pivot = tl.load(p_lse + o_m, mask=o_m < M, other=0.0) * LOG2_E - lift  # [BM]
    mu = []
    o_dot = []
    for _ in tl.static_range(G):
        mu += [tl.zeros([BM], tl.float32)]  # G x [BM]
        o_dot += [_zeros(BM, BLOCKS)]  # G x [BM, D]

    for start in range(0, S, BS):
        o_s = start + tl.arange(0, BS)
        b_k = _load(p_k, key_row * ALIGNMENT, o_s, S, D, BLOCKS)  # [BS, D]
        s = _add_scores(tl.zeros([BM, BS], tl.float32), b_q, b_k, PRECISION)  # [BM, BS]
        if not EVEN:
            s = tl.where(o_s[None, :] < S, s, float("-inf"))
        p = tl.exp2(s * (scale * LOG2_E) - pivot[:, None])  # [BM, BS]
        b_p = p.to(p_v.dtype.element_ty)
        if p_q_dot is not None or p_k_dot is not None:
            b_v = _load(p_v, key_row * ALIGNMENT, o_s, S, D, BLOCKS)  # [BS, D]
            p *= scale
        mu_next = []
        o_dot_next = []
        for g in tl.static_range(G):
            i_k = _tangent(i_group, g, K, G)
            sums = mu[g]
            values = o_dot[g]
            if p_q_dot is not None or p_k_dot is not None:
                s_dot = tl.zeros([BM, BS], tl.float32)
                if p_q_dot is not None:
                    s_dot = _add_scores(s_dot, b_q_dot[g], b_k, PRECISION)
                if p_k_dot is not None:
                    p_tangent = _tangent_head(p_k_dot, k_dot_strides, i_k, i_n, i_h, ALIGNMENT)
                    b_k_dot = _load(p_tangent, key_row * ALIGNMENT, o_s, S, D, BLOCKS)  # [BS, D]
                    s_dot = _add_scores(s_dot, b_q, b_k_dot, PRECISION)
                w = p * s_dot  # [BM, BS]
                sums += tl.sum(w, 1)
                values = _add_values(values, w.to(b_p.dtype), b_v, PRECISION)
            if p_v_dot is not None:
                p_tangent = _tangent_head(p_v_dot, v_dot_strides, i_k, i_n, i_h, ALIGNMENT)
                b_v_dot = _load(p_tangent, key_row * ALIGNMENT, o_s, S, D, BLOCKS)  # [BS, D]
                values = _add_values(values, b_p, b_v_dot, PRECISION)
            mu_next += [sums]
            o_dot_next += [values]
        mu = mu_next
        o_dot = o_dot_next

    b_y = _load(_head(p_y, y_strides, i_n, i_h, ALIGNMENT), y_row * ALIGNMENT, o_m, M, D, BLOCKS)  # [BM, D]
    lower = tl.exp2(-lift)
    for g in tl.static_range(G):
        i_k = i_group * G + g
        y_dot = []
        for b in tl.static_range(len(BLOCKS)):
            y_dot += [(o_dot[g][b] - mu[g][:, None] * b_y[b].to(tl.float32)) * lower[:, None]]
        p_tangent = p_y_dot + (i_k.to(tl.int64) * N * M * H + i_n * M * H + i_h) * D
        _store(p_tangent, H * D, y_dot, o_m, tl.where(i_k < K, M, 0), D, BLOCKS)


@triton.jit
def _tangent(i_group, g, K, G: tl.constexpr):
    return tl.minimum(i_group * G + g, K - 1)  # the last group computes the last tangent again, and drops it


@triton.jit
def _head(pointer, strides, i_n, i_h, ALIGNMENT: tl.constexpr):
    return pointer + (i_n * strides[0] + i_h * strides[1]) * ALIGNMENT


@triton.jit
def _tangent_head(pointer, strides, i_k, i_n, i_h, ALIGNMENT: tl.constexpr):
    return pointer + (i_k.to(tl.int64) * strides[0] + i_n * strides[1] + i_h * strides[2]) * ALIGNMENT


@triton.jit
def _load(pointer, stride, rows, length, D: tl.constexpr, BLOCKS: tl.constexpr):
    blocks = []
    for b in tl.static_range(len(BLOCKS)):
        columns = BLOCKS[b][0] + tl.arange(0, BLOCKS[b][1])
        inside = rows[:, None] < length
        if BLOCKS[b][0] + BLOCKS[b][1] > D:
            inside = inside & (columns[None, :] < D)
        blocks += [tl.load(pointer + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)]
    return blocks


@triton.jit
def _store(pointer, stride, blocks, rows, length, D: tl.constexpr, BLOCKS: tl.constexpr):
    for b in tl.static_range(len(BLOCKS)):
        columns = BLOCKS[b][0] + tl.arange(0, BLOCKS[b][1])
        target = pointer + rows[:, None] * stride + columns[None, :]
        inside = (rows[:, None] < length) & (columns[None, :] < D)
        tl.store(target, blocks[b].to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _zeros(rows: tl.constexpr, BLOCKS: tl.constexpr):
    blocks = []
    for b in tl.static_range(len(BLOCKS)):
        blocks += [tl.zeros([rows, tl.constexpr(BLOCKS[b][1])], tl.float32)]
    return blocks


@triton.jit
def _row_norm(blocks):
    norm = tl.sum(tl.abs(blocks[0].to(tl.float32)), 1)
    for b in tl.static_range(1, len(blocks)):
        norm += tl.sum(tl.abs(blocks[b].to(tl.float32)), 1)
    return norm


@triton.jit
def _add_scores(s, b_q, b_k, PRECISION: tl.constexpr):
    for b in tl.static_range(len(b_q)):
        s = tl.dot(b_q[b], tl.trans(b_k[b]), s, input_precision=PRECISION)
    return s


@triton.jit
def _add_values(o, p, b_v, PRECISION: tl.constexpr):
    total = []
    for b in tl.static_range(len(b_v)):
        total += [tl.dot(p, b_v[b], o[b], input_precision=PRECISION)]
    return total
