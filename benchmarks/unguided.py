"""What a step with the prompt alone saves where nothing is guided: seconds of a step, beside those of a guided one.

    python -m benchmarks.unguided [--batch 1 --batch 4] [--repeats 7]

A transformer as Stable Diffusion 3's with random weights, both of its steps interleaved in one process on one thread;
the time is the process's own. The guided step is given a scale of 1, so that both make the same sample: the difference
is printed.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from diffusers import SD3Transformer2DModel

from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.mmdit import Mmdit
from memscan.export.graphs.flops import graph_flops
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.graphs.storage import save_sharing_weights
from memscan.export.graphs.trace import trace_denoiser
from memscan.scanner.graph_names import STEP, UNGUIDED, uncond
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

LATENT, TEXT, POOLED = (16, 32, 32), (77, 128), 64
WARM_UP = 2  # the first two runs pay for fresh memory
COEFFICIENTS = {"a": 0.0, "b": 0.5, "c": 0.0, "d": 0.5}


@click.command()
@click.option("--batch", type=click.IntRange(1), multiple=True, default=(1, 4), show_default=True, help="Images")
@click.option("--repeats", type=click.IntRange(1), default=7, show_default=True, help="Timed runs of both")
def main(batch: tuple[int, ...], repeats: int) -> None:
    """Print the ratio at each batch size."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder)
        passes = graph_flops(folder / STEP, batch=1) / graph_flops(folder / UNGUIDED, batch=1)
        click.echo(f"by count a guided step is {passes:.2f} steps with the prompt alone")
        sessions = {graph: _session(folder / graph) for graph in (STEP, UNGUIDED)}
        for images in batch:
            _compare(sessions, images, repeats)


def _write(folder: Path) -> None:
    transformer = SD3Transformer2DModel(
        sample_size=LATENT[1],
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=TEXT[1],
        caption_projection_dim=192,
        pooled_projection_dim=POOLED,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    denoiser = FlowDenoiser(Mmdit(transformer.eval().requires_grad_(False), LATENT), POOLED)
    traced = trace_denoiser(denoiser, LATENT, TEXT)
    graphs = denoiser_graphs(traced, tangents=1, cuts={}, observed=False, unguided=True)
    save_sharing_weights({name: graphs[name] for name in (STEP, UNGUIDED)}, folder, "float32")


def _compare(sessions: dict[str, onnxruntime.InferenceSession], images: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    feed = {
        "sample": rng.standard_normal((images, *LATENT)),
        **{name: np.full(images, value) for name, value in {"timestep": 500.0, "alpha": 0.5, "sigma": 0.5}.items()},
        "encoder_hidden_states": rng.standard_normal((images, *TEXT)),
        "text_embeds": rng.standard_normal((images, POOLED)),
        "previous_denoised": np.zeros((images, *LATENT)),
        **{name: np.array(value) for name, value in COEFFICIENTS.items()},
    }
    texts = "encoder_hidden_states", "text_embeds"
    none = {uncond(name): rng.standard_normal(feed[name].shape) for name in texts}
    feeds = {UNGUIDED: feed, STEP: {**feed, **none, "guidance_scale": np.array(1.0)}}
    narrow = {
        graph: {name: value.astype(np.float32) for name, value in values.items()} for graph, values in feeds.items()
    }
    seconds: dict[str, list[float]] = {graph: [] for graph in sessions}
    made = {}
    for turn in range(WARM_UP + repeats):
        for graph, session in sessions.items():
            began = time.process_time()
            (made[graph],) = session.run(["next_sample"], narrow[graph])
            if turn >= WARM_UP:
                seconds[graph].append(time.process_time() - began)
    both, alone = (statistics.median(seconds[graph]) for graph in (STEP, UNGUIDED))
    apart = np.abs(made[STEP] - made[UNGUIDED]).max() / np.abs(made[STEP]).max()
    click.echo(
        f"batch {images}: guided {1e3 * both:.1f} ms, the prompt alone {1e3 * alone:.1f} ms: {both / alone:.2f} times "
        f"as fast; samples apart by {apart:.1e}"
    )


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
