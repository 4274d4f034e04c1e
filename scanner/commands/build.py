"""`memscan build`: TensorRT plans of a bundle's graphs, before a run needs them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memscan.scanner.commands.options import choice
from memscan.scanner.notes import note
from memscan.scanner.settings import Derivative

if TYPE_CHECKING:
    from memscan.scanner.runtimes.tensorrt.flavour import Flavour
    from memscan.scanner.runtimes.tensorrt.provide import Provided
    from memscan.scanner.runtimes.tensorrt.target import Target


@click.command("build", short_help="Build a bundle's TensorRT plans before a run needs them")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    help="TensorRT, on the GPU at hand, or TensorRT-RTX, without one  [default: tensorrt]",
)
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", default=8, help="Largest batch of a run  [default: 8]"
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="Of the GPUs to build for, with tensorrt-rtx (repeatable)  [default: 8.0 and newer]",
)
@click.option(
    "--derivative", type=choice(Derivative), help="Of the runs that the plans are for  [default: the bundle's]"
)
@click.option(
    "--cache", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the plans  [default: the user's cache]"
)
def command(
    bundle: Path,
    engine: str,
    batch_size: int,
    capabilities: tuple[str, ...],
    derivative: Derivative | None,
    cache: Path | None,
) -> None:
    """Build the TensorRT plans of BUNDLE: its graphs, compiled for a kind of GPU and for batches of up to N images.

    \b
    memscan build sd14.bundle --batch-size 16
    memscan build sd14.bundle --engine tensorrt-rtx --compute-capability 8.9 --compute-capability 12.0
    memscan run prompts.parquet --model sd14.bundle --engine tensorrt --batch-size 16

    A run builds what is missing; this command does it earlier. Plans hold for one version of TensorRT, and stay in a
    private folder: they are code, so never take any from others.
    """
    from memscan.scanner.bundle import open_bundle
    from memscan.scanner.run.derivative import choose_derivative
    from memscan.scanner.runtimes.tensorrt.cache import PlanCache, default_folder
    from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
    from memscan.scanner.runtimes.tensorrt.key import plan_graphs
    from memscan.scanner.runtimes.tensorrt.provide import PlanProvider

    if capabilities and engine != "tensorrt-rtx":
        raise click.UsageError("--compute-capability is for --engine tensorrt-rtx: tensorrt builds for the GPU at hand")
    opened = open_bundle(bundle)
    flavour = load_flavour(engine)
    folder = cache or default_folder()
    provider = PlanProvider(opened, flavour, PlanCache(folder), _target(flavour, capabilities), batch_size, note=note)
    for graph in plan_graphs(opened, choose_derivative(opened, derivative)):
        click.echo(_line(graph, provider.provide(graph)))
    note(f"plans are in {folder}")


def _target(flavour: "Flavour", capabilities: tuple[str, ...]) -> "Target":
    from memscan.scanner.runtimes.tensorrt.target import ahead_of_time, open_gpu, target_of

    return ahead_of_time(flavour, capabilities) if flavour.ahead_of_time else target_of(flavour, open_gpu(flavour))


def _line(graph: str, provided: "Provided") -> str:
    how = "found" if provided.seconds is None else f"built in {provided.seconds:.0f} s"
    return f"{graph}: {how}, {len(provided.plan.content) / 2**20:.1f} MiB"
