"""`memscan run`: scan a manifest of prompts."""

import functools
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memscan.scanner.commands.configured import configuration_file
from memscan.scanner.commands.options import GroupedCommand
from memscan.scanner.commands.run_options import EXECUTION, INPUT, MEASUREMENT, MODEL, OUTPUT, InputOptions
from memscan.scanner.notes import note, warn
from memscan.scanner.place import Place
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Execution

if TYPE_CHECKING:
    from memscan.scanner.model_choice import ChosenModel
    from memscan.scanner.run.estimate import Estimate
    from memscan.scanner.run.job import Job
    from memscan.scanner.run.runner import Summary

_NOTHING_TO_SCAN = """\
memscan: nothing to scan yet: give a manifest, or a prompt.

  memscan run manifest.parquet           scan a file with a column `prompt` (Parquet, CSV, JSONL)
  memscan run --prompt "a red bicycle"   scan one prompt
  memscan demo                           see what comes out
  memscan run --help                     all options"""


@click.command("run", cls=GroupedCommand, short_help="Scan a manifest of prompts")
@click.argument("manifests", metavar="[MANIFEST]...", nargs=-1)
@INPUT
@MODEL
@MEASUREMENT
@OUTPUT
@EXECUTION
def command(
    manifests: tuple[str, ...],
    given: InputOptions,
    model: Place | None,
    require_model: bool,
    no_verify: bool,
    request: Request,
    calibration: str | None,
    out: Place | None,
    part_rows: int | None,
    execution: Execution,
    max_errors: int | None,
    retry_errors: bool,
    share: str | None,
    ray: str | None,
    workers: int | None,
    openmetrics: Path | None,
    verify_outputs: bool,
    dry_run: bool,
    measure: bool,
) -> int:
    """Scan the prompts of MANIFEST, and write scores and masks to Parquet.

    \b
    memscan run prompts.parquet
    memscan run 'prompts/*.parquet' --model sd14 --out night --carry kind
    memscan run --prompt "a poster" --maps --images

    MANIFEST is a Parquet, CSV or JSONL file with a column `prompt`, and optionally `seed`, `id` and `image`; a text
    file with a prompt on each line; a folder of Parquet files; a glob; or `-`. Stopped at any moment, the same command
    does the rest; with --retry-errors it scans those rows anew that failed. With --share, each of several machines does
    its share of the parts; how many there are may change from run to run. What is not said about the measurement, the
    model's bundle decides.
    """
    if not manifests and not given.prompts:
        click.echo(_NOTHING_TO_SCAN, err=True)
        return 2

    if measure and not dry_run:
        raise click.UsageError("--measure is of a --dry-run")

    from memscan.scanner.calibration.record import find_calibration
    from memscan.scanner.fleet.ray import run_on_ray
    from memscan.scanner.model_choice import choose_model
    from memscan.scanner.run.job import make_job
    from memscan.scanner.run.runner import run
    from memscan.scanner.run.share import WHOLE
    from memscan.scanner.run.share_choice import choose_share

    if ray is not None and share is not None:
        raise click.UsageError("--ray hands out all shares: leave --share out")
    if ray is not None and "-" in manifests:
        raise click.UsageError("--ray reads the manifest on other machines: give it as a file, not as -")
    if workers is not None and ray is None:
        raise click.UsageError("--workers is for --ray")
    own = WHOLE if share is None else choose_share(share, os.environ)
    chosen = choose_model(model, require=require_model, file=configuration_file())
    if chosen.is_toy:
        how = "chosen" if chosen.named_by else "no --model given"
        warn(f"TOY MODEL: {how}: scanning the embedded toy, which knows only its own few captions")
    manifest = given.open(manifests, request.carry)
    for text in manifest.remarks:
        note(text)
    bundle = chosen.open(verify=not no_verify)
    calibrated = find_calibration(bundle, calibration)
    if calibrated is not None:
        note(calibrated.record.line())
    settings: dict[str, Any] = {
        "part_rows": part_rows,
        "share": own,
        "verified": not no_verify,
        "max_errors": max_errors,
        "retry_errors": retry_errors,
        "calibration": calibrated,
        "openmetrics": openmetrics,
        "verify_outputs": verify_outputs,
    }
    job = make_job(manifest, bundle, request, execution, out, **settings, warn=warn)
    if dry_run:
        _describe(job, measure)
        code = 0
    else:
        if ray is None:
            summary = run(job, note=note)
        else:
            make = functools.partial(_job_again, manifests, given, chosen, request, execution, job.out, settings)
            summary = run_on_ray(make, ray, workers=workers, note=note)
        _report(job, summary)
        code = 3 if summary.total.error else 0
    if chosen.is_toy:
        warn("TOY MODEL: what was measured is the embedded toy, and says nothing about a model of yours")
    return code


def _job_again(
    manifests: tuple[str, ...],
    given: InputOptions,
    chosen: "ChosenModel",
    request: Request,
    execution: Execution,
    out: Place,
    settings: dict[str, Any],
) -> "Job":
    """The job, made on another machine: all that was to be said of it has been said."""
    from memscan.scanner.run.job import make_job

    bundle = chosen.open(verify=settings["verified"])
    manifest = given.open(manifests, request.carry)
    return make_job(manifest, bundle, request, execution, out, **settings, warn=lambda text: None)


def _describe(job: "Job", measure: bool) -> None:
    from memscan.scanner.run.derivative import describe
    from memscan.scanner.run.measurement import measured_steps
    from memscan.scanner.run.runner import preview

    outlook, measurement = preview(job, measure=measure), job.measurement
    indices = ", ".join(str(step.index) for step in measurement.steps)
    census = outlook.census
    if not census.rows:
        note("dry run: the manifest has no rows, so there is nothing to scan")
        return
    which = f" ({job.manifest.selection})" if job.manifest.selection else ""
    note(f"dry run: {census.rows} rows{which}, {census.images} images, {census.rejected} of them cannot be scanned")
    for reason in census.reasons:
        note(f"cannot be scanned: {reason}")
    found = outlook.found
    if found.images:
        note(
            f"done already: {found.images} images, {found.ok} ok and {found.error} with errors"
            f"{f', {found.screened} screened' if found.screened else ''}; "
            f"{max(census.images - found.images, 0)} are left"
        )
    note(
        f"model {job.bundle.model_id}, {measurement.num_inference_steps} steps of {measurement.sampler}, guidance "
        f"{measurement.guidance_scale:g}, measured at step {indices} with "
        f"{measurement.probes.count} {measurement.probes.kind} probes"
    )
    timesteps = [step.timestep for step in measured_steps(job.bundle, measurement)]
    note(f"derivative: {describe(job.bundle, measurement.derivative, measurement.mask_map, timesteps)}")
    note(f"price of an image in forward passes: {job.price()}")
    if measurement.screen is not None:
        screen = measurement.screen
        note(
            f"screening: that is of images whose {screen.score} reaches {screen.threshold:.4g}; of the others "
            f"{2 * screen.steps} forward passes"
        )
    shares = job.price_shares()
    paid = [f"{name} {passes:.3g}" for name, passes in shares.items() if passes]
    free = [name for name, passes in shares.items() if not passes]
    said = [*([f"for {', '.join(paid)}"] if paid else []), *([f"for nothing {', '.join(free)}"] if free else [])]
    note(f"of the measuring, {'; '.join(said)}")
    if outlook.estimate is not None:
        _say_estimate(outlook.estimate, max(census.images - census.rejected - found.ok - found.screened, 0))
    note(f"would {'continue the run in' if outlook.resumes else 'write to'} {job.out}, by {outlook.device}")


def _say_estimate(estimate: "Estimate", left: int) -> None:
    from memscan.scanner.run.progress import duration

    note(
        f"measured on {estimate.images} images at once: {estimate.time_of(1):.3g} s an image, "
        f"{_size(estimate.memory)} of memory, {_size(estimate.disk_of(1))} on disk an image"
    )
    note(f"estimated for {left} images: {duration(estimate.time_of(left))}, {_size(estimate.disk_of(left))} on disk")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _report(job: "Job", summary: "Summary") -> None:
    from memscan.scanner.results.query import ranking_command
    from memscan.scanner.run.measurement import telling_step

    if not job.manifest.num_rows:
        note("done: the manifest has no rows, so there was nothing to scan")
        click.echo(job.out)
        return
    total = summary.total
    fate = f"{total.images} images: {total.ok} ok, {total.error} with errors, {total.truncated} with truncated prompts"
    if job.measurement.screen is not None:
        fate += f"; {total.screened} screened out, and not scanned"
    if total.given:
        fate += f"; {total.sampled} sampled, {total.given} given"
    note(f"{'already complete' if summary.was_complete else 'done'}: {fate}")
    if total.error:
        failed = "1 image" if total.error == 1 else f"{total.error} images"
        note(f"{failed} failed: --retry-errors scans what failed anew, once its cause is mended, and nothing else")
    columns = ["row", "seed", "prompt", "score", "mask_share", *(["error"] if total.error else [])]
    note(f"look at them: {ranking_command(job.out, columns, telling_step(job.bundle, job.measurement))}")
    if job.measurement.save_maps or job.measurement.save_images:
        note(f"draw them: memscan show {shlex.quote(str(job.out))}")
    click.echo(job.out)
