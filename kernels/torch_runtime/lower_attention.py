"""Attention: ONNX's operator by torch's fused kernels, and memscan's functions of attention with tangents by ours."""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memscan.kernels.torch_runtime.lowering_table import Compute, LoweringTable
from memscan.kernels.torch_runtime.node import Node
from memscan.kernels.torch_runtime.sliced_attention import attention_with_tangents
from memscan.kernels.torch_runtime.value_attention import attention_of_values

LOWERINGS = LoweringTable()

_FLOAT = 1
"""ONNX's element type, in which torch computes every softmax of attention."""


@LOWERINGS.lowering("Attention")
def attention(node: Node) -> Compute:
    """Attention of four-dimensional operands, with an optional mask: boolean or added to the scores."""
    scale = node.attribute("scale", None)
    causal = bool(node.attribute("is_causal", 0))
    for name, supported in (("softcap", 0.0), ("qk_matmul_output_mode", 0)):
        node.only(name, supported)
    if node.attribute("softmax_precision", _FLOAT) != _FLOAT:
        raise node.unsupported("a softmax in other than float32")
    if len(node.inputs) > 4:
        raise node.unsupported("a cache of keys and values")
    if causal and len(node.inputs) > 3:
        raise node.unsupported("a mask on top of the causal one")

    def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if q.shape[1] != k.shape[1]:
            raise node.unsupported("fewer heads of keys than of queries")
        return scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)

    return compute


@LOWERINGS.lowering("memscan::AttentionJvp", several=True)
def attention_jvp(node: Node) -> Compute:
    """Self-attention: queries, keys and values have tangents."""
    scale = node.attribute("scale")
    return lambda *operands: attention_with_tangents(*operands, scale=scale)


@LOWERINGS.lowering("memscan::AttentionQueryJvp", several=True)
def attention_query_jvp(node: Node) -> Compute:
    """Cross-attention: only the queries have tangents."""
    scale = node.attribute("scale")
    return lambda q, k, v, q_dot: attention_with_tangents(q, k, v, q_dot, None, None, scale=scale)


@LOWERINGS.lowering("memscan::AttentionValueJvp", several=True)
def attention_value_jvp(node: Node) -> Compute:
    """Attention with constant weights: only the values have tangents."""
    scale = node.attribute("scale")
    return lambda q, k, v, v_dot: attention_of_values(q, k, v, v_dot, scale=scale)
