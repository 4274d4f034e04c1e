"""Images per second of `memscan run` against the same measurement in torch, in one run of alternating rounds.

    python -m benchmarks.throughput [--images 8] [--rounds 3] [--threads 1] [--probes 16] [--step 49]

`memscan run` is timed as a whole process, from start-up to the last file; torch without its imports and loading. The
procedure as published is slow, so it gets fewer images, and its rate is taken per image.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.torch_procedures import Procedures, Settings
from memscan.scanner import embedded
from memscan.scanner.bundle import open_bundle

TESTBED = Path(__file__).parent.parent / "testbed"


@click.command()
@click.option("--images", default=8, show_default=True, help="Images of a round; also the batch size.")
@click.option("--published-images", default=2, show_default=True, help="Images for the procedure as published.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--probes", default=16, show_default=True)
@click.option("--step", default=49, show_default=True, help="Index of the measured step.")
def main(images: int, published_images: int, rounds: int, threads: int, probes: int, step: int) -> None:
    """Time the three procedures in alternating rounds and print their rates."""
    torch.set_num_threads(threads)
    bundle = open_bundle(embedded.BUNDLE)
    settings = Settings(bundle.defaults.num_inference_steps, bundle.defaults.guidance_scale, step, probes)
    procedures = Procedures(TESTBED / "pipeline", TESTBED / "baseline", settings)
    prompts = [row["prompt"] for row in pq.read_table(embedded.MANIFEST).to_pylist()][:images]
    seeds = list(range(images))
    runs = {
        "memscan run": (lambda: _memscan(prompts, seeds, settings, threads), images),
        "torch, fair": (lambda: procedures.fair(prompts, seeds), images),
        "torch, as published": (
            lambda: procedures.as_published(prompts[:published_images], seeds[:published_images]),
            published_images,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_index in range(rounds + 1):
        for name, (run, _) in runs.items():
            start = time.perf_counter()
            run()
            if round_index:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    rates = {name: count / median(seconds[name]) for name, (_, count) in runs.items()}
    click.echo(f"{settings.steps} steps, K = {probes}, step {step}, batch {len(prompts)}, {threads} thread(s)")
    click.echo("| procedure | images/s | min..max | memscan is faster by |\n|---|---|---|---|")
    for name, (_, count) in runs.items():
        low, high = count / max(seconds[name]), count / min(seconds[name])
        click.echo(
            f"| {name} | {rates[name]:.3f} | {low:.3f}..{high:.3f} | {rates['memscan run'] / rates[name]:.2f}x |"
        )


def _memscan(prompts: list[str], seeds: list[int], settings: Settings, threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.parquet"
        pq.write_table(pa.table({"prompt": prompts, "seed": seeds}), manifest)
        options = {
            "--out": Path(folder) / "out",
            "--step": settings.measured_step,
            "--num-inference-steps": settings.steps,
            "--guidance": settings.guidance,
            "--num-probes": settings.probes,
            "--batch-size": len(prompts),
            "--threads": threads,
        }
        arguments = [str(part) for pair in options.items() for part in pair]
        command = [sys.executable, "-c", "from memscan.scanner.cli import main; main()", "run", str(manifest)]
        subprocess.run([*command, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main()
