"""Tracing: a denoiser becomes an ONNX graph with a symbolic batch and everything else static.

Opset 23, because there attention and group normalization are single nodes, which the derivative rules want whole.
"""

from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor

from memscan.export.checkpoint.components import Component
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.prediction import to_eps
from memscan.export.nodes.conditions import require_shapes
from memscan.export.passes.permuting_einsum import TransposePermutingEinsum
from memscan.export.passes.split_projections import SplitProjections
from memscan.export.passes.weight_views import ViewTransposedWeights
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.export.passes.written_out_rms_norm import WriteOutRmsNorm
from memscan.export.quiet import quiet_libraries
from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.graph_names import LEVEL

OPSET = 23
INPUTS = ("sample", *LEVEL, "encoder_hidden_states")
"""Of every denoiser; Stable Diffusion XL's and transformers also take text_embeds."""
OUTPUT = "eps"
_INNER = "denoiser"
"""What torch puts before the names of weights, where the denoiser is a part of what is traced."""


def trace_denoiser(
    denoiser: EpsDenoiser | FlowDenoiser, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
) -> ir.Model:
    """Trace the denoiser.

    Weights stay in torch's storage; a linear layer's weight appears under its own name with `.T` appended, that of a
    layer whose output is split as `.T.part0` and `.T.part1`.

    Args:
        denoiser: in evaluation mode, on the CPU.
        latent_shape: (C, h, w).
        text_shape: (S, D), tokens and width of the text states.

    Returns:
        A model with inputs sample `[N, C, h, w]`, timestep, alpha and sigma `[N]`, encoder_hidden_states `[N, S, D]`
        and, of Stable Diffusion XL and transformers, text_embeds `[N, P]`, and output eps `[N, C, h, w]`; every value
        has a shape and a dtype. A model that predicts eps does not read alpha and sigma; any other has a second output,
        what it predicts, `[N, C, h, w]`, under the name of the prediction type.

    Raises:
        ExportError: the model cannot be traced, or a value has no static shape.
    """
    dtype = next(denoiser.parameters()).dtype
    example = {
        name: torch.zeros(shape, dtype=dtype)
        for name, shape in denoiser.input_shapes(2, latent_shape, text_shape).items()
    }
    # diffusers copies upsampling inputs from a batch of 64 on: a branch of the tracing only, the graph takes any N.
    dynamic = {name: {0: torch.export.Dim("N", max=63)} for name in example}
    is_eps = denoiser.prediction_type == "epsilon"
    module = denoiser if is_eps else _WithPrediction(denoiser, tuple(example))
    try:
        with quiet_libraries(), torch.no_grad():
            shapes: Any = dynamic if is_eps else {"inputs": tuple(dynamic.values())}
            given: Any = ((), example) if is_eps else (tuple(example.values()), None)
            exported = torch.export.export(module, *given, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                exported,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                input_names=tuple(example),
                output_names=(OUTPUT,) if is_eps else (OUTPUT, denoiser.prediction_type),
                dynamic_shapes=shapes,
            )
            assert program is not None
            for weight in tuple(program.model.graph.initializers.values()):
                weight.name = str(weight.name).removeprefix(f"{_INNER}.")
            ViewTransposedWeights()(program.model)
            weights = list(program.model.graph.initializers.values())
            program.optimize()
    except (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.UserError) as error:
        raise ExportError(f"torch cannot trace this denoiser: {first_line(error)}") from error
    model = program.model.clone()
    for value in weights:  # the optimizer's rules hold on to the last graph that they saw
        value.const_value = None
    ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "memscan", None
    require_shapes(model)
    SplitProjections()(model)
    TransposePermutingEinsum()(model)
    return model


class _WithPrediction(torch.nn.Module):
    """A denoiser that also says what its eps was made of."""

    def __init__(self, denoiser: EpsDenoiser | FlowDenoiser, names: tuple[str, ...]) -> None:
        super().__init__()
        self.add_module(_INNER, denoiser)
        self._names = names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        denoiser: Any = getattr(self, _INNER)
        named = dict(zip(self._names, inputs, strict=True))
        prediction = denoiser.predict(**named)
        level = (named[name] for name in ("sample", "alpha", "sigma"))
        return to_eps(denoiser.prediction_type, prediction, *level), prediction


def trace_component(module: Component, example: dict[str, Tensor]) -> ir.Model:
    """Trace a module; the first axis of its inputs becomes the symbolic batch `N`.

    Args:
        example: inputs by the names of `forward`'s arguments, with a batch of 2 (a batch of 1 would be taken for a
            constant).
    """
    program = torch.onnx.export(
        module.eval(),
        kwargs=example,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=list(example),
        output_names=list(module.outputs),
        dynamic_shapes={name: {0: torch.export.Dim("N")} for name in example},
    )
    assert program is not None
    # torch notes a stack trace beside every node, with the paths of the machine that exports.
    ClearMetadataAndDocStringPass()(program.model)
    WriteOutAttention()(program.model)
    WriteOutRmsNorm()(program.model)
    return program.model
