"""`memscan run`: scan a manifest of prompts."""

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memscan.scanner.commands.grouped_options import GroupedCommand
from memscan.scanner.commands.parameters import UnicodeText
from memscan.scanner.notes import note, warn

if TYPE_CHECKING:
    from memscan.scanner.input.manifest import Manifest
    from memscan.scanner.run.job import Job
    from memscan.scanner.run.runner import Summary

_NOTHING_TO_SCAN = """\
memscan: nothing to scan yet: give a manifest, or a prompt.

  memscan run manifest.parquet           scan a file with a column `prompt` (Parquet, CSV, JSONL)
  memscan run --prompt "a red bicycle"   scan one prompt
  memscan demo                           see what comes out
  memscan run --help                     all options"""

_GROUPS = {
    "Input": (
        "prompt",
        "prompt_column",
        "seed_column",
        "id_column",
        "image_column",
        "carry",
        "format",
        "delimiter",
        "encoding",
        "image_root",
    ),
    "Model": ("model", "no_verify"),
    "Measurement": (
        "steps",
        "timesteps",
        "sampler",
        "num_inference_steps",
        "guidance_scale",
        "probe_kind",
        "num_probes",
        "probe_seed",
        "stream",
        "metrics",
        "list_metrics",
        "score_name",
        "mask_map",
        "threshold",
        "fit",
    ),
    "Output": ("out", "save_maps", "save_images"),
    "Execution": ("engine", "batch_size", "threads", "provider", "cache", "part_rows", "max_errors", "dry_run"),
}


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(name.strip() for name in value.split(","))


def _list_metrics(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from memscan.scanner.metrics.catalogue import METRICS

    for metric in METRICS.values():
        mark = "*" if metric.default else " "
        click.echo(f"{mark} {metric.name:<15}{metric.kind:<7}{metric.says}")
    context.exit()


def _renamed(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError("--shard-rows is called --part-rows now")


@click.command("run", cls=GroupedCommand, groups=_GROUPS, short_help="Scan a manifest of prompts")
@click.argument("manifests", metavar="[MANIFEST]...", nargs=-1)
@click.option(
    "--prompt",
    type=UnicodeText(),
    multiple=True,
    metavar="TEXT",
    help="Scan this prompt instead of a manifest (repeatable)",
)
@click.option(
    "--prompt-column",
    type=UnicodeText(),
    metavar="NAME",
    help="Column with the prompts  [default: prompt]",
)
@click.option(
    "--seed-column",
    type=UnicodeText(),
    metavar="NAME",
    help="Column with seeds or lists of them  [default: seed, if there]",
)
@click.option(
    "--id-column",
    type=UnicodeText(),
    metavar="NAME",
    help="Column with the ids  [default: id, if there]",
)
@click.option(
    "--image-column", type=UnicodeText(), metavar="NAME", help="Column with images to scan  [default: image, if there]"
)
@click.option(
    "--carry",
    type=UnicodeText(),
    multiple=True,
    metavar="COLUMN",
    help="Carry a column through to the results (repeatable)",
)
@click.option(
    "--format",
    type=click.Choice(["parquet", "csv", "jsonl", "text"]),
    help="What the files are  [default: as their names say]",
)
@click.option("--delimiter", metavar="CHAR", help="Between the fields of CSV, or tab  [default: as in the header]")
@click.option("--encoding", metavar="NAME", help="Of CSV, JSONL and text  [default: UTF-8, or by byte order mark]")
@click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where image paths start, and what they cannot leave  [default: folder of the manifest's file]",
)
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Bundle made by `memscan export`")
@click.option("--no-verify", is_flag=True, help="Take the bundle's files as they are, altered or not")
@click.option("--step", "steps", type=int, multiple=True, metavar="N", help="Measure at this step index (repeatable)")
@click.option(
    "--timestep", "timesteps", type=int, multiple=True, metavar="T", help="Measure at this timestep (repeatable)"
)
@click.option("--sampler", type=click.Choice(["ddim", "dpmsolver++"]), help="How images are sampled")
@click.option("--num-inference-steps", type=int, metavar="N", help="Steps of the sampler")
@click.option("--guidance", "guidance_scale", type=float, metavar="SCALE", help="Scale of classifier-free guidance")
@click.option("--probes", "probe_kind", type=click.Choice(["hadamard", "rademacher"]), help="Kind of probe vectors")
@click.option("--num-probes", type=int, metavar="K", help="Number of probe vectors: more is slower and more exact")
@click.option("--probe-seed", type=int, metavar="N", help="Seed of the probes' random signs")
@click.option(
    "--rng",
    "stream",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="Generator whose latents a seed gives, as in diffusers  [default: cpu]",
)
@click.option(
    "--metrics",
    metavar="NAME,...|all|free",
    callback=_names,
    help="What to measure; free is what sampling gives for nothing  [default: those marked in --list-metrics]",
)
@click.option(
    "--list-metrics", is_flag=True, is_eager=True, expose_value=False, callback=_list_metrics, help="List them and stop"
)
@click.option(
    "--score", "score_name", metavar="NAME", help="Metric that the score is, or MAP_mean, MAP_max, MAP_q99 of a map"
)
@click.option(
    "--mask-map", metavar="MAP", help="Map that the mask is made of, and the score, unless --score says other"
)
@click.option(
    "--threshold", type=float, metavar="VALUE", help="Where the mask begins, in place of the model's calibrated value"
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "stretch", "pad"]),
    default="crop",
    help="How a given picture of another shape is made to fit  [default: crop]",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Output folder  [default: STEM.memscan]")
@click.option("--maps", "save_maps", is_flag=True, help="Write full maps too")
@click.option("--images", "save_images", is_flag=True, help="Write the images too")
@click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "tensorrt", "tensorrt-rtx", "torch"]),
    default="onnxruntime",
    help="What runs the graphs  [default: onnxruntime]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="Images at once, if they fit  [default: to suit the device]",
)
@click.option(
    "--threads", type=click.IntRange(0), metavar="N", default=0, help="CPU threads  [default: one for each core]"
)
@click.option(
    "--provider", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Device  [default: CUDA if there]"
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of TensorRT's plans  [default: the user's cache]",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    metavar="N",
    default=256,
    help="Rows in each result file, and at most 4 N images  [default: 256]",
)
@click.option("--shard-rows", hidden=True, expose_value=False, callback=_renamed)
@click.option("--max-errors", type=click.IntRange(0), metavar="N", help="Stop as soon as more than N images failed")
@click.option("--dry-run", is_flag=True, help="Check manifest and model, say what would be done, and stop")
def command(manifests: tuple[str, ...], prompt: tuple[str, ...], **options: Any) -> int:
    """Scan the prompts of MANIFEST, and write scores and masks to Parquet.

    \b
    memscan run prompts.parquet
    memscan run 'prompts/*.parquet' --model sd14 --out night --carry kind
    memscan run --prompt "a poster" --maps --images

    MANIFEST is a Parquet, CSV or JSONL file with a column `prompt`, and optionally `seed`, `id` and `image`; a text
    file with a prompt on each line; a folder of Parquet files; a glob; or `-`. Stopped at any moment, the same command
    does the rest. What is not said about the measurement, the model's bundle decides.
    """
    if not manifests and not prompt:
        click.echo(_NOTHING_TO_SCAN, err=True)
        return 2
    if manifests and prompt:
        raise click.UsageError("give a MANIFEST or --prompt, not both")
    job = _job(manifests, prompt, options)
    if options["dry_run"]:
        _describe(job)
        return 0

    from memscan.scanner.run.runner import run

    summary = run(job, note=note)
    _report(job, summary)
    return 3 if summary.total.error else 0


def _job(manifests: tuple[str, ...], prompts: tuple[str, ...], options: dict[str, Any]) -> "Job":
    from memscan.scanner.bundle import open_bundle
    from memscan.scanner.embedded import BUNDLE
    from memscan.scanner.run.job import Job
    from memscan.scanner.run.measurement import Request, build_measurement
    from memscan.scanner.settings import Execution

    opened = _manifest(manifests, prompts, options)
    for text in opened.remarks:
        note(text)
    if options["model"] is None:
        warn("no --model given: scanning the embedded TOY model, which knows only its own few captions")
    bundle = open_bundle(options["model"] or BUNDLE, verify=not options["no_verify"])
    request = Request(**{field.name: options[field.name] for field in dataclasses.fields(Request)})
    measurement, notes = build_measurement(bundle, request)
    for text in notes:
        warn(text)
    execution = Execution(
        options["batch_size"], options["threads"], options["provider"], options["engine"], options["cache"]
    )
    out = options["out"] or Path(f"{opened.name}.memscan")
    return Job(
        opened,
        bundle,
        measurement,
        execution,
        out,
        options["part_rows"],
        verified=not options["no_verify"],
        max_errors=options["max_errors"],
    )


def _manifest(manifests: tuple[str, ...], prompts: tuple[str, ...], options: dict[str, Any]) -> "Manifest":
    from memscan.scanner.input.columns import Columns
    from memscan.scanner.input.manifest import open_manifest, prompt_manifest
    from memscan.scanner.input.reading import Reading

    if not manifests:
        if options["carry"]:
            raise click.UsageError("--carry needs a MANIFEST: a --prompt has no columns")
        return prompt_manifest(prompts)
    columns = Columns(
        prompt=options["prompt_column"],
        carry=tuple(dict.fromkeys(options["carry"])),
        seed=options["seed_column"],
        id=options["id_column"],
        image=options["image_column"],
    )
    reading = Reading(options["format"], options["delimiter"], options["encoding"], options["image_root"])
    return open_manifest(manifests, columns, reading)


def _describe(job: "Job") -> None:
    from memscan.scanner.run.runner import preview

    outlook, measurement = preview(job), job.measurement
    indices = ", ".join(str(step.index) for step in measurement.steps)
    census = outlook.census
    note(f"dry run: {census.rows} rows, {census.images} images, {census.rejected} of them cannot be scanned")
    note(
        f"model {job.bundle.model_id}, {measurement.num_inference_steps} steps of {measurement.sampler}, guidance "
        f"{measurement.guidance_scale:g}, measured at step {indices} with "
        f"{measurement.probes.count} {measurement.probes.kind} probes"
    )
    note(_price(job))
    note(f"would {'continue the run in' if outlook.resumes else 'write to'} {job.out}, by {outlook.device}")


def _price(job: "Job") -> str:
    from memscan.scanner.metrics.catalogue import METRICS
    from memscan.scanner.metrics.plan import TANGENT_PASSES, plan_calls, price

    bundle, measurement = job.bundle, job.measurement
    last = measurement.num_inference_steps if measurement.save_images else measurement.steps[-1].index
    cost = price(
        plan_calls([METRICS[name] for name in measurement.metrics], has_baseline=bundle.has_baseline),
        steps_taken=last,
        states_measured=len(measurement.steps),
        num_probes=measurement.probes.count,
        tangents_per_call=bundle.tangents_per_call,
    )
    return (
        f"price of an image in forward passes: {cost.sampling:g} to sample, about {cost.measuring:.0f} to measure "
        f"(by estimate 1 a call, and {TANGENT_PASSES:g} for each of its {bundle.tangents_per_call} tangents)"
    )


def _report(job: "Job", summary: "Summary") -> None:
    from memscan.scanner.results.query import ranking_command
    from memscan.scanner.run.measurement import telling_step

    total = summary.total
    fate = f"{total.images} images: {total.ok} ok, {total.error} with errors, {total.truncated} with truncated prompts"
    if total.given:
        fate += f"; {total.sampled} sampled, {total.given} given"
    note(f"{'already complete' if summary.was_complete else 'done'}: {fate}")
    columns = ["row", "seed", "prompt", "score", "mask_share", *(["error"] if total.error else [])]
    note(f"look at them: {ranking_command(job.out, columns, telling_step(job.bundle, job.measurement))}")
    if job.measurement.save_maps or job.measurement.save_images:
        note(f"draw them: memscan show {shlex.quote(str(job.out))}")
    click.echo(job.out)
