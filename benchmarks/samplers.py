"""Fewer steps, fewer probes and cheaper derivatives on the testbed: the gain in speed beside the cost in localization.

    python -m benchmarks.samplers --work DIR [--batch-size 8]

Every setting scans the calibration captions. Its merit is that of `testbed.calibrate`: the sum of the IoU of dh_uncond
and dh_base, each at its best fixed threshold. Chosen is the fastest setting whose merit is at least that of the paper's
procedure at the bundle's timestep: 50 DDIM steps, 16 random probes, exact derivative. Only then are the held-out
captions scanned, with the thresholds found on the others. Rates are images per second of the process's own time on one
thread, so that a busy machine matters little; start-up and the first batch are left out. What DIR holds of an earlier
call is scanned again.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow.compute as pc
import pyarrow.parquet as pq

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.bundle_parts import Calibration
from memscan.scanner.embedded import BUNDLE, GROUND_TRUTH, MANIFEST
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.figures import Record
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.results.reader import Results, open_results
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.progress import Advance
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import DERIVATIVES, Derivative, Execution, ProbeKind, Sampler
from testbed.calibrate import CHOOSERS
from testbed.scanning import export
from testbed.tables import HOME
from testbed.thresholds import Found, thresholds_of

FEWER_PROBES = 4
"""Below the embedded bundle's tangents a call: scanned with a bundle of their own."""


TIMESTEPS = (301, 201, 101)
DEFAULT = 201


@dataclasses.dataclass(frozen=True)
class Setting:
    """One point of the search."""

    sampler: Sampler
    steps: int
    kind: ProbeKind
    probes: int
    derivative: Derivative = "exact"
    timestep: int = DEFAULT

    def __str__(self) -> str:
        return f"{self.sampler} {self.steps}, {self.probes} {self.kind}, {self.derivative}, t = {self.timestep}"


PAPER = Setting("ddim", 50, "rademacher", 16)
SEARCH = [
    Setting("ddim", 50, "hadamard", 8),
    *(
        Setting("dpmsolver++", steps, "hadamard", probes, derivative, timestep)
        for steps in (10, 5, 4, 3)
        for probes in (8, FEWER_PROBES)
        for derivative in DERIVATIVES
        for timestep in TIMESTEPS
        if derivative == "shallow" or (probes == 8 and timestep == DEFAULT)
    ),
]
"""DDIM's numbers of steps are such that the timestep is one of its own."""


@dataclasses.dataclass(frozen=True)
class Scanned:
    """A finished scan and its rate."""

    results: Results
    images_per_second: float


class Bench:
    """Scans parts of the testbed's manifest with any setting."""

    def __init__(self, work: Path, execution: Execution) -> None:
        self._work = work
        self._execution = execution
        few = work / "few-tangents.bundle"
        if not few.exists():
            export(HOME / "pipeline", HOME / "baseline", few, ExportOptions(tangents=FEWER_PROBES, certify=()))
        embedded = open_bundle(BUNDLE)
        self._bundles = {"usual": embedded, "few": dataclasses.replace(open_bundle(few), defaults=embedded.defaults)}
        self._manifests = {split: self._write_manifest(split) for split in ("calibration", "heldout")}

    def scan(self, split: str, setting: Setting, found: Found | None = None) -> Scanned:
        """Scan one split, with maps, at the thresholds of `found`, if given."""
        bundle = self._bundles["few" if setting.probes <= FEWER_PROBES else "usual"]
        request = Request(
            timesteps=(setting.timestep,),
            derivative=setting.derivative,
            sampler=setting.sampler,
            num_inference_steps=setting.steps,
            probe_kind=setting.kind,
            num_probes=setting.probes,
            save_maps=True,
        )
        if found is not None:
            bundle = self._calibrated(bundle, setting, request, found)
        measurement, _ = build_measurement(bundle, request)
        out = self._work / f"{split} {setting}"
        shutil.rmtree(out, ignore_errors=True)
        done: list[float] = []

        @contextlib.contextmanager
        def progress(total: int, finished: int) -> Iterator[Advance]:
            yield lambda count, errors: done.extend([time.process_time()] * count)

        job = Job(open_manifest(str(self._manifests[split])), bundle, measurement, self._execution, out)
        run(job, note=lambda line: None, progress=progress)
        first = self._execution.batch_size
        return Scanned(open_results(out), (len(done) - first) / (time.process_time() - done[first - 1]))

    def _calibrated(self, bundle: Bundle, setting: Setting, request: Request, found: Found) -> Bundle:
        measurement, _ = build_measurement(bundle, request)
        calibrations = tuple(
            Calibration(
                name,
                timestep,
                best.threshold,
                setting.steps,
                measurement.guidance_scale,
                measurement.probes,
                setting.sampler,
                measurement.derivative,
            )
            for (name, timestep), best in found.items()
        )
        return dataclasses.replace(bundle, calibrations=calibrations)

    def _write_manifest(self, split: str) -> Path:
        path = self._work / f"{split}.parquet"
        table = pq.read_table(MANIFEST)
        pq.write_table(table.filter(pc.equal(table["split"], split)), path)
        return path


@click.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the scans")
@click.option("--batch-size", default=8, show_default=True)
def main(work: Path, batch_size: int) -> None:
    """Search on the calibration captions, then compare the choice with the paper's settings on the others."""
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work, Execution(batch_size, threads=1, provider="cpu"))
    click.echo("Calibration captions\n")
    click.echo("| setting | images/s | gain | dh_uncond IoU | dh_base IoU |\n|---|---|---|---|---|")
    founds: dict[Setting, Found] = {}
    rates: dict[Setting, float] = {}
    for setting in (PAPER, *SEARCH):
        scanned = bench.scan("calibration", setting)
        founds[setting], rates[setting] = thresholds_of(scanned.results), scanned.images_per_second
        gain = rates[setting] / rates[PAPER]
        click.echo(f"| {setting} | {rates[setting]:.2f} | {gain:.2f}x | {_ious(founds[setting])} |")
    good_enough = [setting for setting in SEARCH if _merit(founds[setting]) >= _merit(founds[PAPER])]
    chosen = max(good_enough, key=lambda setting: rates[setting], default=PAPER)
    click.echo(f"\nChosen: {chosen}\n\nHeld-out captions, local IoU with 95% bootstrap intervals over captions\n")
    click.echo("| setting | images/s | gain | map | fixed threshold | oracle |\n|---|---|---|---|---|---|")
    reference = 0.0
    for setting in dict.fromkeys((PAPER, Setting("ddim", 50, "hadamard", 8), chosen)):
        scanned = bench.scan("heldout", setting, founds[setting])
        records = evaluate(scanned.results, read_ground_truth(str(GROUND_TRUTH)), "heldout").records
        reference = reference or scanned.images_per_second
        gain = scanned.images_per_second / reference
        for name in CHOOSERS:
            figures = " | ".join(_local_iou(records, name, protocol) for protocol in ("fixed", "oracle"))
            click.echo(f"| {setting} | {scanned.images_per_second:.2f} | {gain:.2f}x | {name} | {figures} |")


def _merit(found: Found) -> float:
    return sum(best.iou for (name, _), best in found.items() if name in CHOOSERS)


def _ious(found: Found) -> str:
    by_map = {name: best.iou for (name, _), best in found.items()}
    return " | ".join(f"{by_map[name]:.3f}" for name in CHOOSERS)


def _local_iou(records: tuple[Record, ...], name: str, protocol: str) -> str:
    (record,) = (one for one in records if (one.map, one.kind, one.protocol) == (name, "local", protocol))
    return f"{record.iou:.3f} [{record.iou_low:.3f}, {record.iou_high:.3f}]"


if __name__ == "__main__":
    main()
