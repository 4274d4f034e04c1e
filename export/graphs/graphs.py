"""The graphs of one denoiser, made of one trace of it: all over the same weights by name."""

import onnx_ir as ir

from memscan.export.autodiff.cut import CUTS
from memscan.export.graphs.guided import guided_step
from memscan.export.graphs.measure import measure_graph
from memscan.export.passes.half_precision import HALF_TYPES, HalfPrecision, Precision
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.scanner.bundle import Gives
from memscan.scanner.graph_names import STEP, measure, of_baseline, sliced

GIVES: dict[str, Gives] = {
    STEP: {"eps": ("prompt", "none"), "denoised": ("prompt",)},
    **{measure(kind): {"eps": ("prompt", "none"), "diagonal": ("prompt", "none")} for kind in CUTS},
    **{of_baseline(measure(kind)): {"eps": ("baseline",), "diagonal": ("baseline",)} for kind in CUTS},
}
"""What the graphs of `denoiser_graphs` can be asked for. The denoised estimate is the guided one."""


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
        File name in a bundle -> model. Sliced variants are there where attention is large enough to be sliced.

    Raises:
        MissingRule: an operator cannot be differentiated.
    """
    denoiser = traced
    if precision in HALF_TYPES:
        denoiser = traced.clone()
        HalfPrecision(HALF_TYPES[precision])(denoiser)
    graphs: dict[str, ir.Model] = {}
    for derivative, cut in CUTS.items():
        name = measure(derivative)
        graphs[name] = measure_graph(denoiser, tangents, cut)
        variant = graphs[name].clone()
        if SliceAttention()(variant).modified:
            graphs[sliced(name)] = variant
    for model in graphs.values():
        WriteOutAttention()(model)  # of what has no tangents
    if guided:
        graphs[STEP] = guided_step(denoiser)
        variant = denoiser.clone()
        if SliceAttention()(variant).modified:
            graphs[sliced(STEP)] = guided_step(variant)
    return graphs
