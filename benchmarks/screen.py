"""What `memscan run --screen` saves and what it loses, on the embedded model, at its usual 50 steps.

    python -m benchmarks.screen [--images 300] [--seeds 4] [--rate 0.05] [--steps 1] [--calibration FILE]

The model is calibrated on every other one of the built-in clean prompts. A graded manifest of the others and of the
testbed's own clean captions, each with a seed of its own, has one memorized caption in a hundred: it is screened, and
of its rows one in six is scanned in full, for the price of an image, in seconds of the processor in all threads (a
machine has other things to do) by graphs that are loaded. Recall is of the memorized captions alone, some
seeds each: of the rows that the full scan flags (p <= 0.01) the share that the screening lets pass. Goals: at least 15
times the images a second, and a recall of 0.98.
"""

import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.calibrating.calibrate import DEFAULT_RATE, Order, calibrate
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.calibrating.screen import RATE, STEPS, ScreenOrder
from memscan.scanner.calibration.files import write_calibration
from memscan.scanner.calibration.order_statistics import binomial_interval
from memscan.scanner.calibration.prompts import everyday_prompts
from memscan.scanner.calibration.record import Calibrated, find_calibration
from memscan.scanner.embedded import BUNDLE, MANIFEST
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.model.graphs import Graphs, open_graphs
from memscan.scanner.results.reader import Results, open_results
from memscan.scanner.run.job import make_job
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution

TIMESTEP = 201
SPEED, RECALL = 15.0, 0.98
"""Goals."""
_FULL = 6
_EXECUTION = Execution(threads=1, provider="cpu")


@click.command()
@click.option("--images", default=300, show_default=True, help="Of the graded manifest")
@click.option("--seeds", default=4, show_default=True, help="Of each memorized caption")
@click.option("--rate", default=RATE, show_default=True, help="Of clean images that pass")
@click.option("--steps", default=STEPS, show_default=True, help="Of the screening")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="One that was made before, with its rate and steps"
)
def main(images: int, seeds: int, rate: float, steps: int, calibration: Path | None) -> None:
    """Calibrate, screen and scan; print ratio and recall."""
    captions = pq.read_table(MANIFEST).to_pylist()
    memorized = [one["prompt"] for one in captions if one["kind"] != "none"]
    prompts = everyday_prompts()
    clean = [*prompts[1::2], *(one["prompt"] for one in captions if one["kind"] == "none")]
    few = max(1, images // 100)
    graded = [*itertools.islice(itertools.cycle(clean), images - few), *memorized[:: len(memorized) // few][:few]]
    bundle = open_bundle(BUNDLE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graphs = open_graphs(bundle, _EXECUTION, click.echo)
        file = calibration or _calibrate(bundle, prompts[::2], ScreenOrder(steps, rate), folder)
        found = find_calibration(bundle, file)
        assert found is not None
        rows = [{"prompt": prompt, "seed": [1_000_000 + place]} for place, prompt in enumerate(graded)]
        _run(bundle, graphs, found, rows[:1], folder / "warm", screen=False)
        screened, seconds = _run(bundle, graphs, found, rows, folder / "screened", screen=True)
        full, of_full = _run(bundle, graphs, found, rows[::_FULL], folder / "full", screen=False)
        passed = [row["status"] == "ok" for row in screened.table.to_pylist()]
        ratio = (of_full / full.table.num_rows) / (seconds / len(rows))
        click.echo(f"{len(rows)} images, {few} of them memorized: {sum(passed)} pass, in {seconds:.0f} s")
        click.echo(f"full scan: {of_full / full.table.num_rows:.3g} s an image, screened {seconds / len(rows):.3g} s")
        click.echo(f"throughput: {ratio:.1f} times that of the full scan; goal {SPEED:g}")
        rows = [
            {"prompt": prompt, "seed": [2_000_000 + place * seeds + number for number in range(seeds)]}
            for place, prompt in enumerate(memorized)
        ]
        _tell_recall(*(_run(bundle, graphs, found, rows, folder / f"m{on}", screen=on)[0] for on in (False, True)))


def _calibrate(bundle: Bundle, prompts: Sequence[str], screen: ScreenOrder, folder: Path) -> Path:
    order = Order(Request(timesteps=(TIMESTEP,)), tuple(prompts), 1, DEFAULT_RATE, screen=screen)
    record, _ = calibrate(Scans(bundle, _EXECUTION, folder, click.echo), order)
    file = folder / "calibration.json"
    write_calibration(record.to_json(), file, replace=False)
    return file


def _run(
    bundle: Bundle, graphs: Graphs, calibration: Calibrated, rows: list[dict[str, object]], out: Path, *, screen: bool
) -> tuple[Results, float]:
    """Results, and seconds of the processor that the whole run took."""
    pq.write_table(pa.Table.from_pylist(rows), out.with_suffix(".parquet"))
    manifest = open_manifest(str(out.with_suffix(".parquet")))
    request = Request(screen=screen)
    job = make_job(manifest, bundle, request, _EXECUTION, out, calibration=calibration, warn=click.echo)
    began = time.process_time()
    run(job, note=click.echo, opener=lambda bundle, execution, note: graphs)
    return open_results(out), time.process_time() - began


def _tell_recall(full: Results, screened: Results) -> None:
    flagged = np.array([row["p_value"] <= DEFAULT_RATE for row in full.table.to_pylist()])
    passed = np.array([row["status"] == "ok" for row in screened.table.to_pylist()])
    for what, among in (("flagged", flagged), ("memorized", np.ones_like(flagged))):
        count, images = int((passed & among).sum()), int(among.sum())
        if images:
            low, high = binomial_interval(count, images)
            said = f"{count} of {images} {what} images pass: recall {count / images:.3f} [{low:.3f}, {high:.3f}]"
            click.echo(said + (f"; goal {RECALL:g}" if what == "flagged" else ""))


if __name__ == "__main__":
    main()
