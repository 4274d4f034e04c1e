"""The architecture of Stable Diffusion v1.4 at full size, with random weights: 3.4 GB of them. Run with `make slow`."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.graph_names import measure, sliced
from memscan.scanner.settings import DERIVATIVES

PARAMETERS = 859_520_964
TANGENTS = 8
EXPORT_MEMORY = 8 * 2**30
RUN_MEMORY = {"measure.sliced.onnx": 12 * 2**30, "measure.shallow.sliced.onnx": 8 * 2**30}
SURGERY_SECONDS = 30

RUN = """
import resource, sys
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rng = np.random.default_rng(0)
feed = {
    value.name: rng.standard_normal([1 if size == "N" else size for size in value.shape]).astype(np.float32)
    for value in session.get_inputs()
}
assert all(np.isfinite(output).all() for output in session.run(None, feed))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


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


@dataclass(frozen=True)
class Export:
    """A bundle, what its export printed with the second at which it did, and the most memory that any process took."""

    path: Path
    printed: list[tuple[float, str]]
    peak: int

    def second_of(self, words: str) -> float:
        return next(second for second, line in self.printed if words in line)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("full")
    code = f"from tests.export.test_full_size import *; save_full_size(Path({str(folder / 'sd14')!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    command = [sys.executable, "-u", "-c", "from memscan.scanner.cli import main; main()", "export"]
    arguments = [str(folder / "sd14"), str(folder / "bundle"), "--tangents", str(TANGENTS), "--no-certify"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [(time.monotonic(), line.rstrip()) for line in process.stdout]
    print("\n".join(line for _, line in printed))
    assert process.returncode == 0
    return Export(folder / "bundle", printed, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)


@pytest.mark.slow
def test_stable_diffusion_1_at_full_size_exports_within_memory(export: Export) -> None:
    """More than 2 GiB of weights: external data, one copy on disk, parity of J v with torch, bounded memory."""
    print(f"peak memory of the export {export.peak / 2**30:.2f} GiB")
    assert export.peak < EXPORT_MEMORY
    bundle = open_bundle(export.path, verify=False)
    assert bundle.latent_shape == (4, 64, 64)
    # One copy of the weights; vectors of up to 1 kB stay in the graphs, and equal ones are stored once.
    assert 0.999 < (export.path / "weights.bin").stat().st_size / (4 * PARAMETERS) < 1.001
    for name in ("step.onnx", *(sliced(measure(kind)) for kind in DERIVATIVES), *map(measure, DERIVATIVES)):
        assert (export.path / name).stat().st_size < 2**25
        onnx.checker.check_model(export.path / name)


@pytest.mark.slow
def test_the_image_is_that_of_diffusers_in_two_steps(export: Export) -> None:
    """Four passes of torch, and as many of ONNX Runtime: more steps would take longer than all else."""
    lines = [line for _, line in export.printed]
    assert any(line.endswith("2 steps of ddim at guidance 7.5") for line in lines)
    (latents,) = [line for line in lines if line.startswith("StableDiffusionPipeline  latents")]
    print(latents)
    assert latents.endswith("1e-04  ok")


@pytest.mark.slow
def test_graph_surgery_takes_seconds(export: Export) -> None:
    """Differentiation, slicing, passes and the guided step, of the traced graph."""
    seconds = export.second_of("writing and comparing") - export.second_of("derivative graph")
    print(f"graph surgery {seconds:.1f} s")
    assert seconds < SURGERY_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("graph", RUN_MEMORY)
def test_a_derivative_graph_runs_within_memory(graph: str, export: Export) -> None:
    """One image, all tangents, in a process of its own."""
    arguments = [sys.executable, "-c", RUN, str(export.path / graph)]
    peak = int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout) * 1024
    print(f"peak memory of running it {peak / 2**30:.2f} GiB")
    assert peak < RUN_MEMORY[graph]
