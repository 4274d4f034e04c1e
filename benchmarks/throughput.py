"""Images per second of a scan against the same measurement in torch, in one process and alternating rounds.

    python -m benchmarks.throughput [--batch-size 8 ...] [--rounds 3] [--threads 1] [--probes 16] [--timestep 201]

All measure at the same timestep. Torch and memscan's first rows follow 50 DDIM steps with as many probes; its last row
has memscan's own best settings, chosen by `benchmarks.samplers`. Rates of running work: start-up, loading and the first
batch are left out on both sides; reading the manifest, tokenising and writing Parquet are within memscan's. The
procedure as published knows no batches: one image a round. With one thread, rates are by the process's own time, so
that a busy machine matters little.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import pyarrow.parquet as pq
import torch

from benchmarks.scan_rate import Clock, images_per_second
from benchmarks.torch_procedures import Procedures, Settings
from memscan.export.quiet import quiet_libraries
from memscan.scanner import embedded
from memscan.scanner.bundle import open_bundle
from memscan.scanner.run.request import Request
from memscan.scanner.sampling.ddim import ddim_timesteps
from memscan.scanner.settings import Execution

TESTBED = Path(__file__).parent.parent / "testbed"
TIMED_BATCHES = 2
STEPS = 50
PUBLISHED, FAIR = "torch, as published", "torch, fair"
GOALS = {"memscan, exact": "8x, 2.5x", "memscan, shallow": "8x, 2.5x", "memscan, best settings": "80x, 15x"}
"""Times the rate of the procedure as published, and of the fair one."""

BEST = Request(sampler="dpmsolver++", num_inference_steps=3, probe_kind="hadamard", num_probes=8, derivative="shallow")
"""What `benchmarks.samplers` chose on the calibration captions."""


@click.command()
@click.option("--batch-size", "batch_sizes", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--probes", default=16, show_default=True)
@click.option("--timestep", type=int, help="Noise level of the measurement  [default: the bundle's]")
def main(batch_sizes: tuple[int, ...], rounds: int, threads: int, probes: int, timestep: int | None) -> None:
    """Time the procedures in alternating rounds and print the medians of their rates."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    bundle = open_bundle(embedded.BUNDLE)
    timestep = timestep or bundle.defaults.timesteps[0]
    same = Request(timesteps=(timestep,), num_inference_steps=STEPS, num_probes=probes)
    best = dataclasses.replace(BEST, timesteps=(timestep,))
    measured_step = ddim_timesteps(bundle.schedule, STEPS).index(timestep)
    with quiet_libraries():
        settings = Settings(STEPS, bundle.defaults.guidance_scale, measured_step, probes)
        procedures = Procedures(TESTBED / "pipeline", TESTBED / "baseline", settings)
    prompts = [row["prompt"] for row in pq.read_table(embedded.MANIFEST).to_pylist()]
    click.echo(f"{STEPS} DDIM steps, K = {probes}, measured at timestep {timestep}, {threads} thread(s)")
    best_probes = f"K = {BEST.num_probes} ({BEST.probe_kind})"
    click.echo(
        f"best: {BEST.num_inference_steps} steps of {BEST.sampler}, {best_probes}, {BEST.derivative} derivative\n"
    )
    click.echo("| batch | procedure | images/s | min..max | times published | times fair | goal |")
    click.echo("|---|---|---|---|---|---|---|")
    for size in batch_sizes:
        many = (prompts * size)[: size * TIMED_BATCHES]
        execution = Execution(batch_size=size, threads=threads, provider="cpu")
        scan = functools.partial(
            images_per_second, bundle, prompts, execution=execution, timed_batches=TIMED_BATCHES, clock=clock
        )
        timed: dict[str, Callable[[], float]] = {
            "memscan, exact": functools.partial(scan, request=dataclasses.replace(same, derivative="exact")),
            "memscan, shallow": functools.partial(scan, request=dataclasses.replace(same, derivative="shallow")),
            "memscan, best settings": functools.partial(scan, request=best),
            FAIR: functools.partial(_fair, procedures, many, size, clock),
            PUBLISHED: functools.partial(_published, procedures, prompts[:1], clock),
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
        rate = median(found)
        click.echo(
            f"| {size} | {name} | {rate:.3f} | {min(found):.3f}..{max(found):.3f} "
            f"| {rate / median(rates[PUBLISHED]):.2f}x | {rate / median(rates[FAIR]):.2f}x | {GOALS.get(name, '')} |"
        )


def _fair(procedures: Procedures, prompts: list[str], size: int, clock: Clock) -> float:
    start = clock()
    for first in range(0, len(prompts), size):
        batch = prompts[first : first + size]
        procedures.fair(batch, list(range(first, first + len(batch))))
    return len(prompts) / (clock() - start)


def _published(procedures: Procedures, prompts: list[str], clock: Clock) -> float:
    start = clock()
    procedures.as_published(prompts, list(range(len(prompts))))
    return len(prompts) / (clock() - start)


if __name__ == "__main__":
    main()
