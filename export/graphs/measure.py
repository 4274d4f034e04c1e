"""The graph that a scan measures with: eps and the sum over Kg probes v of v * (J v), J = d eps / d sample.

The sum is taken inside the graph, so that no K-fold tensor leaves the device; the scanner divides by the number of
probes, which gives Hutchinson's estimate of diag(J).
"""

import onnx_ir as ir

from memscan.export.autodiff.cut import CUTS, Cut, MarkCut, UnmarkCut
from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.tidy import tidy
from memscan.export.nodes.emitter import Emitter
from memscan.export.passes.zero_channels import SkipZeroChannels


def measure_graph(denoiser: ir.Model, num_tangents: int = 8, cut: Cut = CUTS["exact"]) -> ir.Model:
    """Derive the measuring graph of a traced denoiser.

    Args:
        denoiser: the graph of `trace_denoiser`; it is not modified, and its weights are shared.
        num_tangents: Kg, the number of probes in a call.
        cut: what of the denoiser has no tangent; J is the derivative without it.

    Returns:
        A model with the denoiser's inputs and tangents `[Kg, N, C, h, w]`, and outputs eps and v_dot_jv, both
        `[N, C, h, w]`.

    Raises:
        MissingRule: an operator between sample and eps has no derivative rule.
        ExportError: a value of the graph has no static shape.
    """
    marked = denoiser.clone()
    MarkCut(cut)(marked)
    model = jvp(marked, wrt=("sample",), of="eps", num_tangents=num_tangents)
    UnmarkCut()(model)
    graph = model.graph
    tangents, eps_dot = graph.inputs[-1], graph.outputs[-1]
    tangents.name = "tangents"
    emitter = Emitter(graph)
    with emitter.scope("v_dot_jv"):
        summed = emitter.op("ReduceSum", emitter.op("Mul", tangents, eps_dot), emitter.ints(0), keepdims=0)
    summed.name = "v_dot_jv"
    graph.outputs[-1] = summed
    SkipZeroChannels()(model)
    tidy(model)
    return model
