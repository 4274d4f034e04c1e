"""The architecture of Stable Diffusion v1.4 at full size, with random weights: 3.4 GB of them. Run with `make slow`."""

import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from memscan.scanner.bundle import open_bundle

PARAMETERS = 859_520_964
MEMORY_LIMIT = 18 * 2**30  # of 24 GiB; attention with tangents over 4,096 tokens takes most of it


def save_full_size(folder: Path) -> None:
    """Save a pipeline with v1.4's UNet; its text encoder has the real width, and the VAE is a small one."""
    import torch
    from diffusers import UNet2DConditionModel

    from tests.tiny_pipeline import save_pipeline

    save_pipeline(folder, text_width=768)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    assert sum(parameter.numel() for parameter in unet.parameters()) == PARAMETERS
    unet.save_pretrained(folder / "unet")


@pytest.mark.slow
def test_stable_diffusion_1_at_full_size_exports_within_memory(tmp_path: Path) -> None:
    """More than 2 GiB of weights: external data, one copy on disk, parity of J v with torch, bounded memory."""
    code = f"from tests.export.test_full_size import *; save_full_size(Path({str(tmp_path / 'sd14')!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    export = "from memscan.scanner.cli import main; main()"
    arguments = ["export", str(tmp_path / "sd14"), str(tmp_path / "bundle"), "--tangents", "1"]
    result = subprocess.run([sys.executable, "-c", export, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak memory {peak / 2**30:.1f} GiB")
    assert peak < MEMORY_LIMIT
    bundle = open_bundle(tmp_path / "bundle", verify=False)
    assert bundle.latent_shape == (4, 64, 64)
    # One copy of the weights; vectors of up to 1 kB stay in the graphs, and equal ones are stored once.
    assert 0.999 < (tmp_path / "bundle" / "weights.bin").stat().st_size / (4 * PARAMETERS) < 1.001
    for name in ("step.onnx", "measure.onnx"):
        assert (tmp_path / "bundle" / name).stat().st_size < 2**25
        onnx.checker.check_model(tmp_path / "bundle" / name)
