"""Images per second of a scan against the same measurement in torch, in one process and alternating rounds.

    python -m benchmarks.throughput [--batch-size 8 ...] [--rounds 3] [--threads 1] [--probes 16] [--step 49]

Rates of running work: start-up, loading and the first batch are left out on both sides; reading the manifest,
tokenising and writing Parquet are within memscan's. The procedure as published knows no batches: one image a round.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import pyarrow.parquet as pq
import torch

from benchmarks.scan_rate import images_per_second
from benchmarks.torch_procedures import Procedures, Settings
from memscan.export.quiet import quiet_libraries
from memscan.scanner import embedded
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.measurement import Request
from memscan.scanner.settings import Execution

TESTBED = Path(__file__).parent.parent / "testbed"
TIMED_BATCHES = 2


@click.command()
@click.option("--batch-size", "batch_sizes", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--probes", default=16, show_default=True)
@click.option("--step", default=49, show_default=True, help="Index of the measured step.")
def main(batch_sizes: tuple[int, ...], rounds: int, threads: int, probes: int, step: int) -> None:
    """Time the procedures in alternating rounds and print the medians of their rates."""
    torch.set_num_threads(threads)
    bundle = open_bundle(embedded.BUNDLE)
    settings = Settings(bundle.defaults.num_inference_steps, bundle.defaults.guidance_scale, step, probes)
    with quiet_libraries():
        procedures = Procedures(TESTBED / "pipeline", TESTBED / "baseline", settings)
    prompts = [row["prompt"] for row in pq.read_table(embedded.MANIFEST).to_pylist()]
    click.echo(f"{settings.steps} DDIM steps, K = {probes}, measured at step {step}, {threads} thread(s)\n")
    click.echo("| batch | procedure | images/s | min..max | memscan is faster by |\n|---|---|---|---|---|")
    for size in batch_sizes:
        many = (prompts * size)[: size * TIMED_BATCHES]
        timed: dict[str, Callable[[], float]] = {
            "memscan run": lambda size=size: _memscan(bundle, prompts, settings, size, threads),
            "torch, fair": lambda many=many, size=size: _fair(procedures, many, size),
            "torch, as published": lambda: _published(procedures, prompts[:1]),
        }
        _compare(size, timed, rounds)


def _compare(size: int, timed: dict[str, Callable[[], float]], rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for index in range(rounds + 1):
        for name, measure in timed.items():
            rate = measure()
            if index:  # the first round warms up
                rates[name].append(rate)
    for name, found in rates.items():
        ratio = median(rates["memscan run"]) / median(found)
        click.echo(f"| {size} | {name} | {median(found):.3f} | {min(found):.3f}..{max(found):.3f} | {ratio:.2f}x |")


def _memscan(bundle: Bundle, prompts: list[str], settings: Settings, size: int, threads: int) -> float:
    """Images per second of a run after its first batch."""
    request = Request(
        steps=(settings.measured_step,),
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        num_probes=settings.probes,
    )
    execution = Execution(batch_size=size, threads=threads, provider="cpu")
    return images_per_second(bundle, prompts, request, execution, TIMED_BATCHES)


def _fair(procedures: Procedures, prompts: list[str], size: int) -> float:
    start = time.perf_counter()
    for first in range(0, len(prompts), size):
        batch = prompts[first : first + size]
        procedures.fair(batch, list(range(first, first + len(batch))))
    return len(prompts) / (time.perf_counter() - start)


def _published(procedures: Procedures, prompts: list[str]) -> float:
    start = time.perf_counter()
    procedures.as_published(prompts, list(range(len(prompts))))
    return len(prompts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
