"""`memscan calibrate`: what a model's scores are where nothing is memorized, and thresholds that follow from it."""

import contextlib
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from memscan.scanner.commands.options import GroupedCommand, all_of, gathered, grouped
from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.commands.run_options import DEVICE, NO_VERIFY, SETTINGS
from memscan.scanner.notes import note
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Derivative, Execution, ProbeKind, Sampler, Stream

_prompts, _output = grouped("Prompts"), grouped("Output")


def _request(
    timesteps: tuple[int, ...],
    sampler: Sampler | None,
    num_inference_steps: int | None,
    guidance_scale: float | None,
    probe_kind: ProbeKind | None,
    num_probes: int | None,
    probe_seed: int | None,
    derivative: Derivative | None,
    stream: Stream,
    metrics: tuple[str, ...],
    score_name: str | None,
    mask_map: str | None,
    smooth: int,
) -> Request:
    return Request(
        timesteps=timesteps,
        sampler=sampler,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        probe_kind=probe_kind,
        num_probes=num_probes,
        probe_seed=probe_seed,
        derivative=derivative,
        stream=stream,
        metrics=metrics,
        score_name=score_name,
        mask_map=mask_map,
        smooth=smooth,
    )


_ASKED = all_of(
    _prompts(
        "--clean",
        metavar="FILE",
        help="Prompts of which nothing is memorized, best those that the model is used with, as a manifest in any form "
        " [default: some 300 everyday ones]",
    ),
    _prompts(
        "--seeds",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="N",
        help="Of every clean prompt; no two images have the same one",
    ),
    _prompts(
        "--labelled",
        metavar="MANIFEST",
        help="Prompts of which --ground-truth knows what is memorized and where: they choose timestep, map, "
        "derivative, number of probes, score and the masks' threshold, unless it is said here",
    ),
    _prompts("--ground-truth", metavar="FILE|testbed", help="Of --labelled; forms: docs/ground-truth.md"),
    _prompts(
        "--rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.01,
        show_default=True,
        help="Of false positives, for detection and, of the cells of an image, for masks",
    ),
    _prompts(
        "--screen-rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.05,
        show_default=True,
        help="Of clean images that pass `run --screen`",
    ),
    _prompts(
        "--screen-steps",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="N",
        help="Guided steps that `run --screen` takes of every image",
    ),
    gathered("request", _request),
    SETTINGS,
    _output(
        "--out", type=LocalPath(), metavar="FILE", help="The calibration  [default: calibration.json of the bundle]"
    ),
    _output("--replace", is_flag=True, help="Keep a calibration that is there under another name"),
    _output("--scans", type=LocalPath(), metavar="DIR", help="Keep the scans here: the same command goes on with them"),
    _output("--json", "json_file", type=LocalPath(), metavar="FILE", help="Write the table here too"),
    DEVICE,
)


@click.command("calibrate", cls=GroupedCommand, short_help="Find a model's thresholds from clean prompts")
@click.argument("model", metavar="BUNDLE")
@_ASKED
@NO_VERIFY
def command(
    model: str,
    clean: str | None,
    labelled: str | None,
    ground_truth: str | None,
    seeds: int,
    rate: float,
    screen_rate: float,
    screen_steps: int,
    request: Request,
    out: Path | None,
    replace: bool,
    scans: Path | None,
    json_file: Path | None,
    execution: Execution,
    no_verify: bool,
) -> None:
    """Find what BUNDLE's scores and maps are where nothing is memorized: thresholds, p-values, the timestep to look at.

    \b
    memscan calibrate sd14.bundle
    memscan calibrate sd14.bundle --clean prompts.txt --rate 0.001
    memscan run manifest.parquet --model sd14.bundle

    It is written beside the bundle's files, which stay as they are; `memscan run` takes it from there. What is
    calibrated are the settings given here, or the bundle's defaults.
    """
    if (labelled is None) != (ground_truth is None):
        raise click.UsageError("--labelled and --ground-truth belong together: give both")

    from memscan.scanner.calibrating.calibrate import Order, calibrate
    from memscan.scanner.calibrating.labelled import Labelled
    from memscan.scanner.calibrating.scans import Scans
    from memscan.scanner.calibrating.screen import ScreenOrder
    from memscan.scanner.calibration.files import check_free, write_calibration
    from memscan.scanner.calibration.prompts import everyday_prompts
    from memscan.scanner.calibration.record import FILE
    from memscan.scanner.calibration.text_table import outstanding, summary, table
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.write import write_file
    from memscan.scanner.input.manifest import open_manifest
    from memscan.scanner.input.prompts import read_prompts
    from memscan.scanner.model_choice import choose_model

    bundle = choose_model(model).open(verify=not no_verify)
    file = out or bundle.path / FILE
    check_free(file, replace=replace)
    prompts = everyday_prompts() if clean is None else read_prompts(clean)
    known = None
    if labelled is not None and ground_truth is not None:
        known = Labelled(open_manifest(labelled), read_ground_truth(ground_truth))
    with _folder(scans) as folder:
        order = Order(request, prompts, seeds, rate, known, ScreenOrder(screen_steps, screen_rate))
        record, scan = calibrate(Scans(bundle, execution, folder, note), order)
        highest = outstanding(scan.prompts, scan.highest(record))
    click.echo(table(record))
    note(highest)
    if scan.failed:
        note(f"{scan.failed} clean prompts have images that failed, and are left out")
    write_calibration(record.to_json(), file, replace=replace)
    if json_file:
        write_file(summary(record), json_file, "--json")
    named = "" if out is None else f" --calibration {shlex.quote(str(file))}"
    note(f"use it: memscan run MANIFEST --model {shlex.quote(str(bundle.path))}{named}")
    click.echo(file)


@contextlib.contextmanager
def _folder(scans: Path | None) -> Iterator[Path]:
    if scans is not None:
        yield scans
        return
    with tempfile.TemporaryDirectory(prefix="memscan-") as folder:
        yield Path(folder)
