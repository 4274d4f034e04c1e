"""Floating-point operations of a bundle's graph, counted by running its torch plan on shapes alone.

Products, convolutions and attention count, an addition and a multiplication as two; elementwise work does not.
Attention counts as its formula is written: two products, and for each tangent four more, two where keys and values
have none, one where the values alone have some.
"""

from pathlib import Path

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from memscan.scanner.graph_names import STEP, measure
from memscan.scanner.settings import DERIVATIVES, Derivative

_META = torch.device("meta")


def forward_passes(folder: Path) -> dict[Derivative, float]:
    """What one call of each kind of measuring graph costs, in forward passes of the denoiser.

    Args:
        folder: where the graphs of a denoiser are; the guided step, two forward passes, is the measure.
    """
    forward = graph_flops(folder / STEP, batch=1) / 2
    return {kind: graph_flops(folder / measure(kind), batch=1) / forward for kind in DERIVATIVES}


def graph_flops(file: Path, batch: int) -> int:
    """Floating-point operations of one run of a graph."""
    plan = Plan(fuse_attention(read_graph(file)), _META, Constants())
    inputs = {
        name: torch.empty(shape, dtype=torch.int64 if integers else torch.float32, device=_META)
        for name, (shape, integers) in input_shapes(file, batch).items()
    }
    with FlopCounterMode(display=False) as counter:
        plan.run(inputs)
    return int(counter.get_total_flops())


def input_shapes(file: Path, batch: int) -> dict[str, tuple[tuple[int, ...], bool]]:
    """The inputs of a graph: name -> shape at a batch size, and whether they are integers; all others are float32."""
    graph = onnx.load(file, load_external_data=False).graph
    return {
        value.name: (
            tuple(dim.dim_value or batch for dim in value.type.tensor_type.shape.dim),
            value.type.tensor_type.elem_type == onnx.TensorProto.INT64,
        )
        for value in graph.input
    }
