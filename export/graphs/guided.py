"""One guided solver step as a graph, built around a denoiser graph so that both share weights by name.

    eps = eps_0 + g (eps_c - eps_0)               classifier-free guidance
    d   = (x - sigma eps) / alpha                 the denoised estimate, returned for the next step
    x'  = a x + b eps + c d_prev                  a linear solver update

The coefficients a, b, c are inputs: DDIM has c = 0, multistep DPM-Solver++ 2M uses d_prev. Attention and group
normalization are written out in operators that every engine has.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from memscan.export.nodes.shapes import static_dims
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.written_out_attention import WriteOutAttention

_FLOAT = ir.DataType.FLOAT
_SCALARS = ("guidance_scale", "a", "b", "c")
_UNCOND_NAMES = {"encoder_hidden_states": "uncond_hidden_states", "text_embeds": "uncond_text_embeds"}


def guided_step(denoiser: ir.Model, alphas_cumprod: Sequence[float]) -> ir.Model:
    """Build the graph of a guided step from a denoiser's.

    Args:
        denoiser: inputs sample [N, C, h, w], timestep [N] int64, encoder_hidden_states [N, S, D] and perhaps
            text_embeds [N, P]; output eps. It is left as it is.
        alphas_cumprod: squared signal level of each training timestep.

    Returns:
        A model with inputs sample, timestep, encoder_hidden_states and text_embeds as the denoiser's,
        uncond_hidden_states [N, S, D], uncond_text_embeds [N, P] if it has text_embeds, previous_denoised [N, C, h, w]
        and the scalars guidance_scale, a, b, c; outputs next_sample and denoised, both [N, C, h, w].
    """
    model = denoiser.clone()
    WriteOutAttention()(model)
    NativeGroupNorm()(model)
    graph = model.graph
    _rename_batch(graph, "N", "2N")
    inner = {value.name: value for value in graph.inputs}
    latent_shape = _outer_shape(inner["sample"])
    sample = ir.val("sample", _FLOAT, latent_shape)
    timestep = ir.val("timestep", ir.DataType.INT64, ["N"])
    cond = {name: ir.val(name, _FLOAT, _outer_shape(inner[name])) for name in _UNCOND_NAMES if name in inner}
    uncond = {name: ir.val(_UNCOND_NAMES[name], _FLOAT, _outer_shape(inner[name])) for name in cond}
    previous_denoised = ir.val("previous_denoised", _FLOAT, latent_shape)
    scalars = {name: ir.val(name, _FLOAT, []) for name in _SCALARS}

    head = ir.tape.Tape()
    doubled = {
        "sample": head.op("Concat", [sample, sample], {"axis": 0}),
        "timestep": head.op("Concat", [timestep, timestep], {"axis": 0}),
        **{name: head.op("Concat", [uncond[name], cond[name]], {"axis": 0}) for name in cond},
    }
    for name, value in doubled.items():
        value.name = f"{name}_twice"
        value.type, value.shape = inner[name].type, inner[name].shape
        ir.convenience.replace_all_uses_with(inner[name], value)
    graph.insert_before(graph[0], head.nodes)
    graph.inputs[:] = [sample, timestep, *cond.values(), *uncond.values(), previous_denoised, *scalars.values()]

    (both,) = graph.outputs
    tape = ir.tape.Tape(graph)
    signal = np.asarray(alphas_cumprod)
    alpha = _gather_levels(tape, timestep, "step_alphas", np.sqrt(signal))
    sigma = _gather_levels(tape, timestep, "step_sigmas", np.sqrt(1 - signal))
    eps_uncond, eps_cond = tape.op_multi_out("Split", [both], {"axis": 0, "num_outputs": 2}, num_outputs=2)
    guidance = tape.op("Mul", [tape.op("Sub", [eps_cond, eps_uncond]), scalars["guidance_scale"]])
    eps = tape.op("Add", [eps_uncond, guidance])
    denoised = tape.op("Div", [tape.op("Sub", [sample, tape.op("Mul", [sigma, eps])]), alpha])
    update = tape.op("Add", [tape.op("Mul", [scalars["a"], sample]), tape.op("Mul", [scalars["b"], eps])])
    next_sample = tape.op("Add", [update, tape.op("Mul", [scalars["c"], previous_denoised])])
    both.name = "eps_twice"
    for name, output in (("next_sample", next_sample), ("denoised", denoised)):
        output.name, output.dtype, output.shape = name, _FLOAT, ir.Shape(latent_shape)
    graph.outputs[:] = [next_sample, denoised]
    graph.name = "guided_step"
    return model


def _outer_shape(value: ir.Value) -> list[int | str]:
    return ["N", *static_dims(value, 1)]


def _gather_levels(tape: ir.tape.Tape, timestep: ir.Value, name: str, table: np.ndarray) -> ir.Value:
    """Values of a table of training timesteps at `timestep`, as [N, 1, 1, 1]."""
    levels = tape.initializer(ir.tensor(table.astype(np.float32), name=name))
    axes = tape.initializer(ir.tensor(np.array([1, 2, 3], np.int64), name=f"{name}_axes"))
    return tape.op("Unsqueeze", [tape.op("Gather", [levels, timestep], {"axis": 0}), axes])


def _rename_batch(graph: ir.Graph, old: str, new: str) -> None:
    """Rename the symbolic batch in the shapes noted beside values: inside a step the denoiser sees both halves."""
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(
                [new if isinstance(dim, ir.SymbolicDim) and dim.value == old else dim for dim in value.shape]
            )
