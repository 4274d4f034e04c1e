"""The transformer of Stable Diffusion 3 medium at full width, as deep as memory allows. Run with `make slow`.

One of its 24 blocks has 85 M weights: 0.32 GiB in float32 and 0.16 GiB in the float16 in which they are stored, both of
which an export holds when it writes. 20 blocks took 10.20 GiB. 12 GiB hold 23 blocks; all 24 would take 12.1 GiB.
"""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

BLOCKS = 23
MEMORY = 12 * 2**30
WEIGHTS = (BLOCKS - 1) * 84_980_736 + 54_294_528 + 19_476_544
"""Of all blocks but the last, whose text goes nowhere, of that one, and of what is before and behind the blocks."""

EXPORT = """
import resource, sys
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel

from memscan.export.autodiff.cut import CUTS
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.mmdit import Mmdit
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.graphs.storage import save_sharing_weights
from memscan.export.graphs.trace import trace_denoiser

torch.manual_seed(0)
transformer = SD3Transformer2DModel(
    sample_size=128, num_layers=int(sys.argv[2]), num_attention_heads=24, caption_projection_dim=1536,
    pos_embed_max_size=192,
).eval().requires_grad_(False)
latent, text = (16, 128, 128), (333, 4096)
traced = trace_denoiser(FlowDenoiser(Mmdit(transformer, latent), 2048), latent, text)
graphs = denoiser_graphs(traced, tangents=8, cuts={"exact": CUTS["exact"]}, observed=False)
save_sharing_weights({name: graphs[name] for name in ("measure.sliced.onnx", "step.sliced.onnx")}, Path(sys.argv[1]),
                     "float16")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_stable_diffusion_3_medium_is_traced_and_differentiated_within_memory(tmp_path: Path) -> None:
    """Attention over 4,429 tokens is sliced, so that no K-fold scores are formed; weights are on disk once."""
    command = [sys.executable, "-c", EXPORT, str(tmp_path), str(BLOCKS)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024
    print(f"peak memory of {BLOCKS} blocks {peak / 2**30:.2f} GiB")
    assert peak < MEMORY
    stored = (tmp_path / "weights.bin").stat().st_size
    # Two bytes each; vectors keep four, and the positions' embedding, 1536 by 4096, is a constant beside the weights.
    assert 2 * WEIGHTS < stored < 1.01 * 2 * WEIGHTS
    for name in ("measure.sliced.onnx", "step.sliced.onnx"):
        assert (tmp_path / name).stat().st_size < 2**25
        onnx.checker.check_model(tmp_path / name)
