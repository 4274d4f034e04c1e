"""What a scan costs on the GPU at hand: its graphs against the peak of a matrix product, and whole scans against torch.

    python -m benchmarks.gpu [--bundle DIR [--pipeline DIR --baseline DIR]] [--precision fp16] [--work DIR]

Without --bundle, the architecture of Stable Diffusion v1.4 is exported with random weights into --work, which takes
minutes and stays there. Torch's procedures (benchmarks/torch_procedures.py) need the checkpoints in diffusers' format.
Times are medians of wall time around a synchronized device; a forward pass is half of a guided step, which makes two.
Memory is the most that is in use on the device beyond what was before; an engine that keeps freed memory is charged it.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.device_memory import PeakMemory
from benchmarks.scan_rate import images_per_second
from memscan.export.graphs.flops import graph_flops, input_shapes
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.errors import MemscanError
from memscan.scanner.graph_names import MEASURE, STEP
from memscan.scanner.run.request import Request
from memscan.scanner.runtimes import open_runtime
from memscan.scanner.runtimes.runtime import Runtime
from memscan.scanner.settings import Execution

ENGINES = ("torch", "onnxruntime", "tensorrt")
PROMPTS = ["a photo of a red house", "a blue dog", "the cat of an old house", "a photo of the dog"]
WARM_UP = 3
"""Runs before the timed ones: an engine may run eagerly, then record, then replay."""
PEAK_SIZE = 8192
STEPS, GUIDANCE, PROBES = 50, 7.5, 16
"""The paper's settings; it measures at the last step."""
PUBLISHED, FAIR = "torch, as published", "torch, fair"

Wait = Callable[[], None]


@dataclass(frozen=True)
class Cost:
    """Seconds of one run of a graph, and the operations it takes."""

    seconds: float
    flops: int

    def cell(self, peak: float) -> str:
        """Seconds, rate, and share of a peak rate."""
        rate = self.flops / self.seconds
        return f"{self.seconds:.4f} s, {rate / 1e12:.1f} TFLOP/s, {rate / peak:.0%}"


@click.command()
@click.option("--bundle", "folder", type=click.Path(path_type=Path, exists=True), help="Made by `memscan export`.")
@click.option("--pipeline", type=click.Path(path_type=Path, exists=True), help="The bundle's checkpoint.")
@click.option("--baseline", type=click.Path(path_type=Path, exists=True), help="Its less-trained checkpoint.")
@click.option("--precision", type=click.Choice(["fp16", "bf16", "fp32"]), default="fp16", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("full-size"), show_default=True)
@click.option("--engine", "engines", type=click.Choice([*ENGINES, "tensorrt-rtx"]), multiple=True, default=ENGINES)
@click.option("--batch-size", "batches", type=click.IntRange(1), multiple=True, default=(1, 8), show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=10, show_default=True, help="Timed runs of each graph.")
def main(
    folder: Path | None,
    pipeline: Path | None,
    baseline: Path | None,
    precision: str,
    work: Path,
    engines: tuple[str, ...],
    batches: tuple[int, ...],
    repeats: int,
) -> None:
    """Print the tables."""
    if not torch.cuda.is_available():
        sys.exit(f"benchmarks.gpu needs a CUDA device, and torch {torch.__version__} finds none")
    if folder is None:
        from benchmarks.full_size import full_size_bundle

        pipeline, baseline, folder = full_size_bundle(work, precision)
    bundle = open_bundle(folder, verify=False)
    dtype = compute_dtype(bundle)
    peak = matrix_product_peak("cuda", dtype, PEAK_SIZE, torch.cuda.synchronize)
    name, torch_version = torch.cuda.get_device_name(), torch.__version__
    click.echo(f"{name}, torch {torch_version}, {bundle.model_id} in {dtype}")
    click.echo(f"peak: {peak / 1e12:.1f} TFLOP/s, a product of {PEAK_SIZE} x {PEAK_SIZE} matrices in {dtype}\n")
    print_graphs(bundle, engines, batches, repeats, peak)
    print_scans(bundle, engines, batches, pipeline, baseline, dtype)


def compute_dtype(bundle: Bundle) -> torch.dtype:
    """What the denoiser's products are computed in."""
    dtype: torch.dtype = getattr(torch, bundle.dtypes.compute)
    return dtype


def matrix_product_peak(device: str, dtype: torch.dtype, size: int, wait: Wait) -> float:
    """Operations per second of a product of square matrices: what the device gives to a kernel that has it all."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / median_seconds(lambda: a @ b, 20, wait)


def median_seconds(run: Callable[[], object], repeats: int, wait: Wait) -> float:
    """The median time of a call, from a device at rest to a device at rest."""
    times = []
    for turn in range(WARM_UP + repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        if turn >= WARM_UP:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def graph_cost(runtime: Runtime, bundle: Bundle, graph: str, batch: int, repeats: int, wait: Wait) -> Cost:
    """One run of a graph with random inputs that are on the device already."""
    file = bundle.file(graph)
    generator = np.random.default_rng(0)
    inputs = {
        name: runtime.upload(
            np.full(shape, 500, np.int64) if integers else generator.normal(size=shape).astype(np.float32)
        )
        for name, (shape, integers) in input_shapes(file, batch).items()
    }
    seconds = median_seconds(lambda: runtime.run(graph, inputs), repeats, wait)
    return Cost(seconds, graph_flops(file, batch))


def print_graphs(bundle: Bundle, engines: tuple[str, ...], batches: tuple[int, ...], repeats: int, peak: float) -> None:
    """A row for each engine and batch size: a guided step, and one call for a group of tangents."""
    tangents = f"{bundle.tangents_per_call} tangents"
    click.echo(
        f"| engine | batch | guided step | {tangents} | {tangents} in forwards | memory |\n|---|---|---|---|---|---|"
    )
    for engine in engines:
        for batch in batches:
            try:
                with PeakMemory() as memory:
                    runtime = open_runtime(bundle, Execution(batch, provider="cuda", engine=engine))
                    step, measure = (
                        graph_cost(runtime, bundle, graph, batch, repeats, torch.cuda.synchronize)
                        for graph in (STEP, MEASURE)
                    )
                    del runtime
            except MemscanError as error:
                click.echo(f"| {engine} | {batch} | not run: {error} | | | |")
            else:
                click.echo(graph_row(engine, batch, step, measure, peak, memory.bytes))


def graph_row(engine: str, batch: int, step: Cost, measure: Cost, peak: float, memory: int) -> str:
    """A row of the table of graphs."""
    forwards = measure.seconds / (step.seconds / 2)
    cells = engine, batch, step.cell(peak), measure.cell(peak), f"{forwards:.2f}", f"{memory / 2**30:.1f} GiB"
    return f"| {' | '.join(map(str, cells))} |"


def print_scans(
    bundle: Bundle,
    engines: tuple[str, ...],
    batches: tuple[int, ...],
    pipeline: Path | None,
    baseline: Path | None,
    dtype: torch.dtype,
) -> None:
    """Images per second: torch's procedures first, then every engine beside them."""
    rates: dict[tuple[str, int], Callable[[], float]] = {}
    if pipeline is not None and baseline is not None:
        rates.update(_procedure_rates(pipeline, baseline, batches, dtype))
    request = Request(steps=(STEPS - 1,), num_inference_steps=STEPS, guidance_scale=GUIDANCE, num_probes=PROBES)
    for engine in engines:
        for batch in batches:
            execution = Execution(batch, provider="cuda", engine=engine)
            rates[f"memscan, {engine}", batch] = lambda execution=execution: images_per_second(
                bundle, PROMPTS, request, execution
            )
    click.echo(
        "\n| procedure | batch | images/s | against fair torch, same batch | against torch as published | memory |"
    )
    click.echo("|---|---|---|---|---|---|")
    found: dict[tuple[str, int], float] = {}
    for (procedure, batch), rate in rates.items():
        try:
            with PeakMemory() as memory:
                found[procedure, batch] = rate()
        except (MemscanError, torch.OutOfMemoryError) as error:
            click.echo(f"| {procedure} | {batch} | not run: {str(error).partition(chr(10))[0]} | | | |")
        else:
            click.echo(scan_row(procedure, batch, found, memory.bytes))


def scan_row(procedure: str, batch: int, found: dict[tuple[str, int], float], memory: int) -> str:
    """A row of the table of scans; a ratio is empty where torch was not run."""
    rate = found[procedure, batch]
    ratios = [f"{rate / found[other]:.2f}x" if other in found else "" for other in ((FAIR, batch), (PUBLISHED, 1))]
    return f"| {procedure} | {batch} | {rate:.3f} | {' | '.join(ratios)} | {memory / 2**30:.1f} GiB |"


def _procedure_rates(
    pipeline: Path, baseline: Path, batches: tuple[int, ...], dtype: torch.dtype
) -> dict[tuple[str, int], Callable[[], float]]:
    from benchmarks.torch_procedures import Procedures, Settings

    settings = Settings(STEPS, GUIDANCE, STEPS - 1, PROBES)
    procedures = Procedures(pipeline, baseline, settings, "cuda", dtype)

    def rate(procedure: Callable[[list[str], list[int]], object], batch: int) -> float:
        prompts = (PROMPTS * batch)[:batch]
        procedure(prompts, list(range(batch)))
        torch.cuda.synchronize()
        start = time.perf_counter()
        procedure(prompts, list(range(batch)))
        torch.cuda.synchronize()
        return batch / (time.perf_counter() - start)

    fair = {(FAIR, batch): lambda batch=batch: rate(procedures.fair, batch) for batch in batches}
    return {(PUBLISHED, 1): lambda: rate(procedures.as_published, 1), **fair}


if __name__ == "__main__":
    main()
