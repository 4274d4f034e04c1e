"""The testbed's own use of memscan: export checkpoints, scan a manifest, find images in the results."""

import dataclasses
from pathlib import Path

from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.quiet import quiet_libraries
from memscan.scanner.bundle import Bundle
from memscan.scanner.embedded import TOY
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.results.reader import Key, Results, open_results
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution

EXECUTION = Execution(batch_size=8, provider="cpu")


def export(pipeline: Path, baseline: Path | None, out: Path, options: ExportOptions) -> None:
    """Export a pipeline folder, and that of a baseline, to `out`; raises ExportError as `memscan export` does."""
    with quiet_libraries():
        model = dataclasses.replace(find_checkpoint(str(pipeline)), id=f"memscan-testbed ({TOY})")
        early = None
        if baseline is not None:
            early = dataclasses.replace(find_checkpoint(str(baseline), parts=("unet",)), id="memscan-testbed-early")
        export_bundle(model, out, baseline=early, options=options)


def scan(bundle: Bundle, manifest: Path, out: Path, request: Request) -> Results:
    """Scan `manifest` with maps, resuming what `out` holds of the same run."""
    request = dataclasses.replace(request, save_maps=True)
    measurement, _ = build_measurement(bundle, request)
    columns = Columns("prompt", request.carry)
    run(Job(open_manifest(str(manifest), columns), bundle, measurement, EXECUTION, out), note=print)
    return open_results(out)


def step_indices(results: Results) -> dict[int, int]:
    """Index of the step of every measured timestep."""
    table = results.rows(["row", "seed", "step_index", "timestep"])
    pairs = zip(table["timestep"].to_pylist(), table["step_index"].to_pylist(), strict=True)
    return dict(sorted(set(pairs)))


def image_keys(results: Results) -> list[Key]:
    """(row, seed) of every image, in the order of the manifest."""
    table = results.rows(["row", "seed", "step_index"])
    return sorted(set(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True)))


def prompts_of(results: Results) -> dict[int, str]:
    """The prompt of every manifest row."""
    table = results.rows(["row", "seed", "step_index", "prompt"])
    return dict(zip(table["row"].to_pylist(), table["prompt"].to_pylist(), strict=True))
