"""The benches' own use of memscan: scans of all prompts of a trained model.

The strength scan samples many seeds and keeps their images; the scores that sampling gives for nothing come with it.
The measuring scan takes a few of these seeds, on the same paths, and measures every metric.
"""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle import open_bundle
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.reader import Results
from testbed.bench.model import Model
from testbed.scanning import export, scan

FREE = ("guidance_norm", "guidance_first", "ds_uncond")
MEASURED = tuple(name for name, metric in METRICS.items() if name != "flipd" and not metric.needs_reference)

MANIFEST_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "prompt": pa.string(),
        "seed": pa.list_(pa.int64()),
        "kind": pa.string(),
        "count": pa.int64(),
        "index": pa.int64(),
        "split": pa.string(),
    }
)
CARRIED = ("kind", "count", "index", "split")


def exported(work: Path, name: str, baseline: str) -> Path:
    """The bundle of a pipeline folder with a baseline, both in the work folder; made if it is not there.

    What is its own baseline has none.
    """
    bundle = work / f"{name}+{baseline}.bundle"
    if not bundle.exists():
        export(work / name, None if baseline == name else work / baseline, bundle, ExportOptions(certify=()))
    return bundle


def manifest(model: Model, seeds: tuple[int, ...]) -> pa.Table:
    """Every prompt of a model's bench."""
    rows = [
        row | {"id": f"{row['kind']}-{number:03d}", "seed": list(seeds)} for number, row in enumerate(model.prompts())
    ]
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def strength_scan(model: Model, seeds: tuple[int, ...] | None = None) -> Results:
    """Images of all prompts and `seeds`, the model's unless said, scanned once."""
    return _scan(model, model.own_baseline, "strength", seeds or model.strength_seeds, FREE)


def measuring_scan(model: Model, baseline: str, metrics: tuple[str, ...] = MEASURED) -> Results:
    """Every one of `metrics` of all prompts and the measured seeds at the model's timesteps, scanned once.

    Raises:
        ResumeRefused: there is a scan of other metrics, as an older catalogue had them: move it away.
    """
    differences = all(METRICS[name].needs_baseline for name in metrics)
    derivative = model.sampling.derivative
    what = f"measured+{baseline}" + "+differences" * differences + f"+{derivative}" * (derivative != "exact")
    return _scan(model, baseline, f"{what}+{len(model.measured_seeds)}", model.measured_seeds, metrics)


def _scan(model: Model, baseline: str, what: str, seeds: tuple[int, ...], metrics: tuple[str, ...]) -> Results:
    mask_map = next(name for name in metrics if name in MAPS)
    request = dataclasses.replace(model.sampling, save_images=True, carry=CARRIED, metrics=metrics, mask_map=mask_map)
    out = model.file(what)
    prompts = out.with_name(f"{out.name}.parquet")
    pq.write_table(manifest(model, seeds), prompts)
    return scan(open_bundle(model.bundle(baseline)), prompts, out, request)
