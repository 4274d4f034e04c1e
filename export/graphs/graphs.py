"""The graphs of one denoiser, made of one trace of it: all over the same weights by name."""

from collections.abc import Mapping

import onnx_ir as ir

from memscan.export.autodiff.cut import CUTS, Cut
from memscan.export.graphs.condition import condition_graph
from memscan.export.graphs.guided import guided_step, unguided_step
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.observe import observe_graph
from memscan.export.passes.half_precision import HALF_TYPES, HalfPrecision, Precision
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.export.passes.written_out_rms_norm import WriteOutRmsNorm
from memscan.scanner.bundle import Gives
from memscan.scanner.graph_names import CONDITION, OBSERVE, STEP, UNGUIDED, measure, of_baseline, sliced
from memscan.scanner.metrics.plan import OBSERVED
from memscan.scanner.settings import Derivative

GIVES: dict[str, Gives] = {
    STEP: {"eps": ("prompt", "none"), "denoised": ("prompt",)},
    UNGUIDED: {"eps": ("prompt",), "denoised": ("prompt",)},
    **{measure(kind): {"eps": ("prompt", "none"), "diagonal": ("prompt", "none")} for kind in CUTS},
    **{of_baseline(measure(kind)): {"eps": ("baseline",), "diagonal": ("baseline",)} for kind in CUTS},
    CONDITION: {"condition_product": ("prompt",)},
}
"""What the graphs of `denoiser_graphs` can be asked for, but for `observe.onnx`. The denoised estimate is the guided
one."""


def given_by(graphs: Mapping[str, ir.Model]) -> dict[str, Gives]:
    """What a denoiser's graphs, and its baseline's, can be asked for: what is observed depends on the denoiser."""
    outputs = {value.name for value in graphs[OBSERVE].graph.outputs} if OBSERVE in graphs else set()
    return {**GIVES, OBSERVE: {quantity: ("prompt", "none") for quantity in OBSERVED if quantity in outputs}}


def denoiser_graphs(
    traced: ir.Model,
    *,
    tangents: int,
    precision: Precision = "fp32",
    guided: bool = True,
    cuts: Mapping[Derivative, Cut] = CUTS,
    observed: bool = True,
    unguided: bool = False,
) -> dict[str, ir.Model]:
    """Make a denoiser's graphs.

    Args:
        traced: the graph of `trace_denoiser`; it is not modified, and its weights are shared.
        tangents: Kg, how many the measuring graphs take in one call.
        guided: whether all graphs are wanted; a baseline has the measuring graphs alone.
        cuts: the kinds of derivative, as the denoiser's architecture has them.
        observed: whether it attends to text across, and has a bottleneck, as a UNet does.
        unguided: whether a step with the prompt alone is wanted, too, for a model that is usually not guided.

    Returns:
        File name in a bundle -> model. Sliced variants are there where attention is large enough to be sliced, what is
        about text where the denoiser attends to any.

    Raises:
        MissingRule: an operator cannot be differentiated.
    """
    denoiser = traced
    if precision in HALF_TYPES:
        denoiser = traced.clone()
        HalfPrecision(HALF_TYPES[precision])(denoiser)
    predictor = _eps_alone(denoiser)
    whole: dict[str, ir.Model | None] = {
        measure(kind): measure_graph(predictor, tangents, cut) for kind, cut in cuts.items()
    }
    if guided:
        whole |= {OBSERVE: observe_graph(predictor) if observed else None, CONDITION: condition_graph(predictor)}
    graphs: dict[str, ir.Model] = {}
    for name, model in whole.items():
        if model is None:
            continue
        if name == OBSERVE:
            NativeGroupNorm()(model)
        graphs[name] = model
        variant = model.clone()
        if SliceAttention()(variant).modified:
            graphs[sliced(name)] = variant
    for model in graphs.values():
        WriteOutAttention()(model)  # of what has no tangents
        WriteOutRmsNorm()(model)
    steps = {STEP: guided_step} if guided else {}
    steps |= {UNGUIDED: unguided_step} if unguided else {}
    for name, step in steps.items():
        graphs[name] = step(denoiser)
        variant = denoiser.clone()
        if SliceAttention()(variant).modified:
            graphs[sliced(name)] = step(variant)
    return graphs


def _eps_alone(denoiser: ir.Model) -> ir.Model:
    """The denoiser without what eps was made of, which a guided step alone wants."""
    if len(denoiser.graph.outputs) == 1:
        return denoiser
    alone = denoiser.clone()
    del alone.graph.outputs[1:]
    return alone
