"""The graph of a denoiser's derivative with respect to its text: J_c (c - c_0), J_c = d eps / d c at the prompt's c.

The tangents are of all encodings, those of the prompt less those of no prompt, and none of the image. It takes the
encodings of both as a guided step does, so that the direction is made on the device.
"""

import onnx_ir as ir

from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.dependence import dependent, inputs_named
from memscan.export.graphs.tidy import tidy
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import shape_of
from memscan.scanner.graph_names import SHARED, uncond


def condition_graph(denoiser: ir.Model) -> ir.Model | None:
    """Derive the graph of a traced denoiser.

    Args:
        denoiser: the graph of `trace_denoiser`; it is not modified, and its weights are shared.

    Returns:
        A model with the denoiser's inputs, and the encodings of no prompt under the same names behind `uncond_`, and
        outputs eps and condition_product, both `[N, C, h, w]`; None if eps depends on no encoding.

    Raises:
        MissingRule: an operator between the encodings and eps has no derivative rule.
        ExportError: a value of the graph has no static shape.
    """
    encodings = [str(value.name) for value in denoiser.graph.inputs if value.name not in ("sample", *SHARED)]
    if denoiser.graph.outputs[0] not in dependent(denoiser.graph, inputs_named(denoiser.graph, encodings)):
        return None
    model = jvp(denoiser, wrt=encodings, of="eps", num_tangents=1)
    graph = model.graph
    cond = inputs_named(graph, encodings)
    dots = inputs_named(graph, [f"{name}_dot" for name in encodings])
    none = [ir.val(uncond(str(c.name)), c.dtype, c.shape) for c in cond]
    emitter = Emitter(graph)
    with emitter.scope("direction", before=graph[0]):
        for c, c_0, c_dot in zip(cond, none, dots, strict=True):
            direction = emitter.op("Unsqueeze", emitter.op("Sub", c, c_0), emitter.ints(0))
            c_dot.replace_all_uses_with(direction)
    graph.inputs[:] = [value for value in graph.inputs if value not in dots] + none
    eps, eps_dot = graph.outputs
    with emitter.scope("condition_product"):
        product = emitter.reshape(eps_dot, *shape_of(eps))
    product.name = "condition_product"
    graph.outputs[:] = [eps, product]
    graph.name = "condition"
    tidy(model)
    return model
