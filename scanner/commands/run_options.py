"""The options of `memscan run`, by what they say something about."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memscan.scanner.commands.options import all_of, choice, gathered, grouped, plans_option
from memscan.scanner.commands.parameters import AnyPlace, LocalPath, UnicodeText
from memscan.scanner.input.reading import OnBadInput
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Derivative, Engine, Execution, Fit, ProbeKind, Provider, Sampler, Stream

if TYPE_CHECKING:
    from memscan.scanner.input.manifest import Manifest

_input, _model = grouped("Input"), grouped("Model")
_measurement, _output, _execution = grouped("Measurement"), grouped("Output"), grouped("Execution")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """What is said about the prompts; their columns and files are looked at when the manifest is opened."""

    prompts: tuple[str, ...]
    prompt_column: str | None
    seed_column: str | None
    id_column: str | None
    image_column: str | None
    condition_image_column: str | None
    condition_mask_column: str | None
    format: str | None
    delimiter: str | None
    encoding: str | None
    image_root: Path | None
    on_bad_input: OnBadInput
    limit: int | None
    sample: int | None
    sample_seed: int | None

    def open(self, manifests: tuple[str, ...], carry: tuple[str, ...]) -> "Manifest":
        """The manifest, or that of the prompts given in its place.

        Raises:
            click.UsageError: options that do not go together.
            UsageError: as `open_manifest`.
        """
        manifest = self._whole(manifests, carry)
        if self.limit is not None:
            manifest = manifest.first(self.limit)
        if self.sample is not None:
            manifest = manifest.sample(self.sample, self.sample_seed or 0)
        elif self.sample_seed is not None:
            raise click.UsageError("--sample-seed is of a --sample: say how many rows")
        return manifest

    def _whole(self, manifests: tuple[str, ...], carry: tuple[str, ...]) -> "Manifest":
        from memscan.scanner.input.columns import Columns
        from memscan.scanner.input.manifest import open_manifest, prompt_manifest
        from memscan.scanner.input.reading import Reading

        if manifests and self.prompts:
            raise click.UsageError("give a MANIFEST or --prompt, not both")
        if self.prompts and carry:
            raise click.UsageError("--carry needs a MANIFEST: a --prompt has no columns")
        if self.prompts:
            return prompt_manifest(self.prompts)
        columns = Columns(
            self.prompt_column,
            carry,
            self.seed_column,
            self.id_column,
            self.image_column,
            self.condition_image_column,
            self.condition_mask_column,
        )
        reading = Reading(self.format, self.delimiter, self.encoding, self.image_root, self.on_bad_input)
        return open_manifest(manifests, columns, reading)


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(name.strip() for name in value.split(","))


def _distinct(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value))


def _list_metrics(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from memscan.scanner.metrics.catalogue import METRICS
    from memscan.scanner.metrics.plan import price_in_words

    for metric in METRICS.values():
        mark = "*" if metric.default else " "
        click.echo(f"{mark} {metric.name:<20}{metric.kind:<6}{price_in_words(metric):<21}{metric.says}")
    context.exit()


def _renamed(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError("--shard-rows is called --part-rows now")


def _column(role: str, help: str) -> Decorator:
    return _input(f"--{role}-column", type=UnicodeText(), metavar="NAME", help=help)


INPUT: Decorator = all_of(
    gathered("given", InputOptions),
    _input("--prompt", "prompts", multiple=True, metavar="TEXT", help="Scan this, not a manifest (repeatable)"),
    _column("prompt", "Column with the prompts  [default: prompt]"),
    _column("seed", "Column with seeds or lists of them  [default: seed, if there]"),
    _column("id", "Column with the ids  [default: id, if there]"),
    _column("image", "Column with images to scan  [default: image, if there]"),
    _column(
        "condition-image", "Column with pictures to inpaint, to edit or of depth  [default: condition_image, if there]"
    ),
    _column("condition-mask", "Column with masks, white where the model paints  [default: condition_mask, if there]"),
    _input(
        "--format", type=click.Choice(["parquet", "csv", "jsonl", "text"]), help="Of files  [default: by their names]"
    ),
    _input("--delimiter", metavar="CHAR", help="Between the fields of CSV, or tab  [default: as in the header]"),
    _input("--encoding", metavar="NAME", help="Of CSV, JSONL and text  [default: UTF-8, or by byte order mark]"),
    _input(
        "--image-root",
        type=LocalPath(),
        metavar="DIR",
        help="Where image paths start, and what they cannot leave  [default: folder of the manifest's file]",
    ),
    _input(
        "--on-bad-input",
        type=choice(OnBadInput),
        default="stop",
        show_default=True,
        help="Row groups of Parquet that cannot be read: stop, or make their rows rows with errors",
    ),
    _input("--limit", type=click.IntRange(1), metavar="N", help="Scan the first N rows; with a larger N, go on"),
    _input("--sample", type=click.IntRange(1), metavar="N", help="Scan N rows, chosen at random from all or the first"),
    _input("--sample-seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Which of them  [default: 0]"),
)

NO_VERIFY: Decorator = _model("--no-verify", is_flag=True, help="Take the bundle's files as they are, altered or not")

MODEL: Decorator = all_of(
    _model(
        "--model",
        type=AnyPlace(),
        metavar="DIR|URL|testbed",
        help="Bundle made by `memscan export`  [default: MEMSCAN_MODEL, memscan.toml, else the toy model testbed]",
    ),
    _model("--require-model", is_flag=True, help="Fail where no model is named, rather than scan the toy"),
    NO_VERIFY,
    _model(
        "--calibration",
        metavar="FILE|none",
        help="Made by `memscan calibrate`  [default: calibration.json of the bundle, if there]",
    ),
)

SETTINGS: Decorator = all_of(
    _measurement(
        "--timestep", "timesteps", type=int, multiple=True, metavar="T", help="Or at this timestep (repeatable)"
    ),
    _measurement("--sampler", type=choice(Sampler), help="How images are sampled"),
    _measurement("--num-inference-steps", type=int, metavar="N", help="Steps of the sampler"),
    _measurement("--guidance", "guidance_scale", type=float, metavar="SCALE", help="Scale of classifier-free guidance"),
    _measurement("--probes", "probe_kind", type=choice(ProbeKind), help="Kind of probe vectors"),
    _measurement("--num-probes", type=int, metavar="K", help="Number of probe vectors: more is slower and more exact"),
    _measurement("--probe-seed", type=int, metavar="N", help="Seed of the probes' random signs"),
    _measurement(
        "--derivative",
        type=choice(Derivative),
        help="Which paths of the model are differentiated: fewer are faster  [default: the bundle's]",
    ),
    _measurement(
        "--rng",
        "stream",
        type=choice(Stream),
        default=Request.stream,
        show_default=True,
        help="Generator whose latents a seed gives, as in diffusers",
    ),
    _measurement(
        "--metrics",
        metavar="NAME,...|all|free",
        callback=_names,
        help="What to measure; free is what guided steps answer anyway  [default: those marked in --list-metrics]",
    ),
    _measurement(
        "--list-metrics",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_list_metrics,
        help="List them, stop",
    ),
    _measurement(
        "--score", "score_name", metavar="NAME", help="Metric that the score is, or MAP_mean, _max, _q90, _q99, _share"
    ),
    _measurement(
        "--mask-map", metavar="MAP", help="Map that the mask is made of, and the score, unless --score is given"
    ),
    _measurement(
        "--smooth",
        type=int,
        default=Request.smooth,
        metavar="N",
        help="Mean of N x N cells in place of each, N odd: thresholds do not carry over  [default: 1, as it is]",
    ),
)
"""What a calibration can speak for, and a run be told."""

MEASUREMENT: Decorator = all_of(
    gathered("request", Request),
    _input(
        "--carry",
        type=UnicodeText(),
        multiple=True,
        callback=_distinct,
        metavar="COLUMN",
        help="Carry a column through to the results (repeatable)",
    ),
    _measurement("--step", "steps", type=int, multiple=True, metavar="N", help="Measure at this step (repeatable)"),
    SETTINGS,
    _measurement(
        "--screen",
        is_flag=True,
        help="Sample the first steps of every image, and scan only those that reach the calibrated screening threshold",
    ),
    _measurement("--threshold", type=float, metavar="VALUE", help="Where the mask begins  [default: as calibrated]"),
    _measurement(
        "--fit",
        type=choice(Fit),
        default=Request.fit,
        show_default=True,
        help="How a given picture of another shape is made to fit",
    ),
    _output("--maps", "save_maps", is_flag=True, help="Write full maps too"),
    _output("--images", "save_images", is_flag=True, help="Write the images too"),
)

OUTPUT: Decorator = all_of(
    _output("--out", type=AnyPlace(), metavar="DIR|URL", help="Output folder  [default: NAME.memscan]"),
    _output(
        "--part-rows",
        type=click.IntRange(1),
        metavar="N",
        help="Rows in each result file, and at most 4 N images  [default: 256]",
    ),
    click.option("--shard-rows", hidden=True, expose_value=False, callback=_renamed),
)

DEVICE: Decorator = all_of(
    gathered("execution", Execution),
    _execution(
        "--engine", type=choice(Engine), default=Execution.engine, show_default=True, help="What runs the graphs"
    ),
    _execution(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Images at once, if they fit  [default: to suit the device]",
    ),
    _execution(
        "--threads", type=click.IntRange(0), metavar="N", default=0, help="CPU threads  [default: one for each core]"
    ),
    _execution(
        "--provider", type=choice(Provider), default=Execution.provider, help="Device  [default: CUDA if there]"
    ),
    plans_option(_execution),
)

EXECUTION: Decorator = all_of(
    DEVICE,
    _execution("--max-errors", type=click.IntRange(0), metavar="N", help="Stop when more than N images failed"),
    _execution("--retry-errors", is_flag=True, help="Scan those rows anew that failed before, and keep all others"),
    _execution(
        "--share",
        metavar="I/N|auto[/N]",
        help="Do the share I of N, from 0; auto: as a Kubernetes Job (auto/N) or a Slurm array numbers it",
    ),
    _execution("--ray", metavar="ADDRESS", help="Let a Ray cluster do it: HOST:PORT, ray://HOST:PORT, auto, or local"),
    _execution("--workers", type=click.IntRange(1), metavar="N", help="Of --ray  [default: one for each GPU, or CPU]"),
    _execution("--verify-outputs", is_flag=True, help="Read maps and images that are there whole: finds flipped bits"),
    _execution(
        "--openmetrics",
        type=LocalPath(),
        metavar="FILE",
        help="Write how far the run is there, for Prometheus's textfile collector: FILE.prom",
    ),
    _execution("--dry-run", is_flag=True, help="Check manifest and model, say what would be done, and stop"),
    _execution("--measure", is_flag=True, help="With --dry-run: scan a batch, to estimate time, memory and disk"),
)
