"""The graphs of transformers in the torch runtime, against ONNX Runtime."""

from pathlib import Path

import pytest
import torch

from memscan.export.graphs.storage import save_sharing_weights
from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from tests.export.graphs.transformers import TRANSFORMERS, graphs
from tests.kernels.torch_graphs import assert_parity, draw, run_onnx_runtime, run_torch


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_denoiser_graphs_equal_onnx_runtime(family: str, tmp_path: Path) -> None:
    models = {name: model.clone() for name, model in graphs(family).items()}
    save_sharing_weights(models, tmp_path)
    for name in models:
        feed = draw(tmp_path / name)
        plan = Plan(fuse_attention(read_graph(tmp_path / name)), torch.device("cpu"), Constants())
        assert_parity(run_torch(plan, feed), run_onnx_runtime(tmp_path / name, feed))
