"""One guided solver step as a graph, built around a denoiser graph so that both share weights by name.

    eps = eps_0 + g (eps_c - eps_0)               classifier-free guidance
    d   = (x - sigma eps) / alpha                 the denoised estimate, returned for the next step
          alpha x - sigma v                       of v_prediction, v guided likewise
          x - sigma v                             of flow_prediction
    x'  = a x + b eps + c d_prev + d d            a linear solver update

The coefficients a, b, c, d are inputs: DDIM and Euler have a = c = 0, multistep DPM-Solver++ 2M uses d_prev. Where
nothing is guided, g = 1, the prompt alone is enough: `unguided_step` asks the denoiser once where `guided_step` asks it
twice. Attention, group normalization and RMS normalization are written out in operators that every engine has.
"""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import shape_of, static_dims
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.export.passes.written_out_rms_norm import WriteOutRmsNorm
from memscan.scanner.graph_names import SHARED
from memscan.scanner.graph_names import uncond as uncond_name

_FLOAT = ir.DataType.FLOAT
_COEFFICIENTS = ("a", "b", "c", "d")


def guided_step(denoiser: ir.Model) -> ir.Model:
    """Build the graph of a guided step from a denoiser's.

    Args:
        denoiser: inputs sample [N, C, h, w], timestep, alpha and sigma [N], others that are no encodings (see
            `graph_names.SHARED`), and encodings of the prompt [N, ...]; output eps, and a second one, named by its
            type, of a network that predicts something else. It is left as it is.

    Returns:
        A model with the denoiser's inputs, the encodings of no prompt under the same names behind `uncond_`,
        previous_denoised [N, C, h, w] and the scalars guidance_scale, a, b, c, d; outputs next_sample, denoised, eps
        (eps_c, given the prompt) and uncond_eps (eps_0), each [N, C, h, w].
    """
    model = _written_out(denoiser)
    graph = model.graph
    _rename_batch(graph, "N", "2N")
    inner = {str(value.name): value for value in graph.inputs}
    latent_shape = _outer_shape(inner["sample"])
    sample = ir.val("sample", _FLOAT, latent_shape)
    shared = {name: ir.val(name, _FLOAT, _outer_shape(inner[name])) for name in SHARED if name in inner}
    texts = [name for name in inner if name not in ("sample", *SHARED)]
    cond = {name: ir.val(name, _FLOAT, _outer_shape(inner[name])) for name in texts}
    uncond = {name: ir.val(uncond_name(name), _FLOAT, _outer_shape(inner[name])) for name in texts}
    scale, update = ir.val("guidance_scale", _FLOAT, []), _update_inputs(latent_shape)

    halves: dict[str, tuple[ir.Value, ir.Value]] = {
        "sample": (sample, sample),
        **{name: (value, value) for name, value in shared.items()},
        **{name: (uncond[name], cond[name]) for name in texts},
    }
    emitter = Emitter(graph)
    with emitter.scope("twice", before=graph[0]):
        for name, values in halves.items():
            doubled = emitter.op("Concat", *values, axis=0, shape=shape_of(inner[name]))
            doubled.name = f"{name}_twice"
            ir.convenience.replace_all_uses_with(inner[name], doubled)
    previous_denoised, *coefficients = update.values()
    known = sample, *shared.values(), *cond.values(), *uncond.values()
    graph.inputs[:] = [*known, previous_denoised, scale, *coefficients]

    both, *predicted = graph.outputs
    kind = str(predicted[0].name) if predicted else "epsilon"
    with emitter.scope("step"):
        level = _level(emitter, shared)
        eps_uncond, eps_cond = emitter.ops("Split", both, outputs=2, shape=latent_shape, axis=0, num_outputs=2)
        eps = _guided(emitter, eps_uncond, eps_cond, scale)
        prediction = eps
        if predicted:
            none, given = emitter.ops("Split", predicted[0], outputs=2, shape=latent_shape, axis=0, num_outputs=2)
            prediction = _guided(emitter, none, given, scale)
        next_sample, denoised = _updated(emitter, {"sample": sample, **update}, level, eps, prediction, kind)
    both.name = "eps_twice"
    for value in predicted:
        value.name = f"{kind}_twice"
    outputs = {"next_sample": next_sample, "denoised": denoised, "eps": eps_cond, "uncond_eps": eps_uncond}
    _give(graph, outputs, latent_shape)
    graph.name = "guided_step"
    return model


def unguided_step(denoiser: ir.Model) -> ir.Model:
    """Build the graph of a step with the prompt alone from a denoiser's, which is as of `guided_step`.

    Returns:
        A model with the denoiser's inputs, previous_denoised [N, C, h, w] and the scalars a, b, c, d; outputs
        next_sample, denoised and eps, each [N, C, h, w].
    """
    model = _written_out(denoiser)
    graph = model.graph
    inner = {str(value.name): value for value in graph.inputs}
    latent_shape = _outer_shape(inner["sample"])
    update = _update_inputs(latent_shape)
    graph.inputs.extend(update.values())
    eps, *predicted = graph.outputs
    kind = str(predicted[0].name) if predicted else "epsilon"
    emitter = Emitter(graph)
    with emitter.scope("step"):
        level = _level(emitter, inner)
        prediction = predicted[0] if predicted else eps
        next_sample, denoised = _updated(emitter, inner | update, level, eps, prediction, kind)
    _give(graph, {"next_sample": next_sample, "denoised": denoised, "eps": eps}, latent_shape)
    graph.name = "unguided_step"
    return model


def _written_out(denoiser: ir.Model) -> ir.Model:
    model = denoiser.clone()
    WriteOutAttention()(model)
    NativeGroupNorm()(model)
    WriteOutRmsNorm()(model)
    return model


def _update_inputs(latent_shape: list[int | str]) -> dict[str, ir.Value]:
    coefficients = {name: ir.val(name, _FLOAT, []) for name in _COEFFICIENTS}
    return {"previous_denoised": ir.val("previous_denoised", _FLOAT, latent_shape), **coefficients}


def _level(emitter: Emitter, inputs: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """alpha and sigma [N, 1, 1, 1]."""
    alpha, sigma = (emitter.op("Unsqueeze", inputs[name], emitter.ints(1, 2, 3)) for name in ("alpha", "sigma"))
    return alpha, sigma


def _updated(
    emitter: Emitter,
    inputs: Mapping[str, ir.Value],
    level: tuple[ir.Value, ir.Value],
    eps: ir.Value,
    prediction: ir.Value,
    kind: str,
) -> tuple[ir.Value, ir.Value]:
    """The next sample and the denoised estimate, of the inputs by name."""
    op, x = emitter.op, inputs["sample"]
    denoised = _DENOISED[kind](emitter, x, prediction, *level)
    update = op("Add", op("Mul", inputs["a"], x), op("Mul", inputs["b"], eps))
    update = op("Add", update, op("Mul", inputs["c"], inputs["previous_denoised"]))
    return op("Add", update, op("Mul", inputs["d"], denoised)), denoised


def _give(graph: ir.Graph, outputs: Mapping[str, ir.Value], latent_shape: list[int | str]) -> None:
    for name, output in outputs.items():
        output.name, output.dtype, output.shape = name, _FLOAT, ir.Shape(latent_shape)
    graph.outputs[:] = list(outputs.values())


def _guided(emitter: Emitter, uncond: ir.Value, cond: ir.Value, scale: ir.Value) -> ir.Value:
    return emitter.op("Add", uncond, emitter.op("Mul", emitter.op("Sub", cond, uncond), scale))


def _of_eps(emitter: Emitter, x: ir.Value, eps: ir.Value, alpha: ir.Value, sigma: ir.Value) -> ir.Value:
    return emitter.op("Div", emitter.op("Sub", x, emitter.op("Mul", sigma, eps)), alpha)


def _of_v(emitter: Emitter, x: ir.Value, v: ir.Value, alpha: ir.Value, sigma: ir.Value) -> ir.Value:
    return emitter.op("Sub", emitter.op("Mul", alpha, x), emitter.op("Mul", sigma, v))


def _of_flow(emitter: Emitter, x: ir.Value, v: ir.Value, alpha: ir.Value, sigma: ir.Value) -> ir.Value:
    return emitter.op("Sub", x, emitter.op("Mul", sigma, v))


_DENOISED: dict[str, Callable[[Emitter, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]] = {
    "epsilon": _of_eps,
    "v_prediction": _of_v,
    "flow_prediction": _of_flow,
}
"""The denoised estimate, of x, the prediction and alpha and sigma [N, 1, 1, 1]."""


def _outer_shape(value: ir.Value) -> list[int | str]:
    return ["N", *static_dims(value, 1)]


def _rename_batch(graph: ir.Graph, old: str, new: str) -> None:
    """Rename the symbolic batch in the shapes noted beside values: inside a step the denoiser sees both halves."""
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(
                [new if isinstance(dim, ir.SymbolicDim) and dim.value == old else dim for dim in value.shape]
            )
