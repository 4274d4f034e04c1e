"""The demonstration: a scan of a few held-out prompts of the embedded model, small enough for a minute or two of CPU.

The output folder is that of an ordinary run, with the manifest, the figures and the contact sheet beside the results.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner import embedded
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.ground_truth import KINDS
from memscan.scanner.manifest import open_manifest
from memscan.scanner.measurement import Request, build_measurement
from memscan.scanner.runner import Job
from memscan.scanner.settings import Execution

_CAPTIONS, _SEEDS, _STEPS = 4, 2, 3


def demo_job(out: Path) -> Job:
    """The demo's scan of the embedded model, maps and images included; its manifest is written to `out`.

    Raises:
        BundleError: the embedded model is missing or damaged.
    """
    bundle = open_bundle(embedded.BUNDLE)
    out.mkdir(parents=True, exist_ok=True)
    prompts = out / "prompts.parquet"
    pq.write_table(_prompts(pq.read_table(embedded.MANIFEST)), prompts)
    measurement, _ = build_measurement(bundle, Request(timesteps=_timesteps(bundle), save_maps=True, save_images=True))
    return Job(open_manifest(str(prompts)), bundle, measurement, Execution(), out)


def _prompts(manifest: pa.Table) -> pa.Table:
    """The first held-out captions of each kind, with the first of their seeds."""
    rows = [row for row in manifest.to_pylist() if row["split"] == "heldout"]
    chosen = [row for kind in KINDS for row in [row for row in rows if row["kind"] == kind][:_CAPTIONS]]
    return pa.Table.from_pylist([{**row, "seed": row["seed"][:_SEEDS]} for row in chosen], manifest.schema)


def _timesteps(bundle: Bundle) -> tuple[int, ...]:
    """The model's default timesteps, and others for which it has calibrated thresholds, up to three."""
    calibrated = [one.timestep for one in bundle.calibrations if one.map == bundle.defaults.mask_map]
    return tuple(dict.fromkeys([*bundle.defaults.timesteps, *calibrated]))[:_STEPS]
