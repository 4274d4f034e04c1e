"""The graphs of one denoiser, made of one trace of it: all over the same weights by name."""

import onnx_ir as ir

from memscan.export.graphs.guided import guided_step
from memscan.export.graphs.measure import measure_graph
from memscan.export.passes.half_precision import HALF_TYPES, HalfPrecision, Precision
from memscan.export.passes.sliced_attention import SliceAttention


def denoiser_graphs(
    traced: ir.Model,
    *,
    tangents: int,
    precision: Precision = "fp32",
    guided: bool = True,
) -> dict[str, ir.Model]:
    """Make a denoiser's graphs.

    Args:
        traced: the graph of `trace_denoiser`; it is not modified, and its weights are shared.
        tangents: Kg, how many the measuring graphs take in one call.
        guided: whether a step is wanted; a baseline has none.

    Returns:
        File name in a bundle -> model. `<name>.sliced.onnx` is there where attention is large enough to be sliced.

    Raises:
        MissingRule: an operator cannot be differentiated.
    """
    denoiser = traced
    if precision in HALF_TYPES:
        denoiser = traced.clone()
        HalfPrecision(HALF_TYPES[precision])(denoiser)
    graphs = {"measure.onnx": measure_graph(denoiser, tangents)}
    sliced = graphs["measure.onnx"].clone()
    if SliceAttention()(sliced).modified:
        graphs["measure.sliced.onnx"] = sliced
    if guided:
        graphs["step.onnx"] = guided_step(denoiser)
        sliced = denoiser.clone()
        if SliceAttention()(sliced).modified:
            graphs["step.sliced.onnx"] = guided_step(sliced)
    return graphs
