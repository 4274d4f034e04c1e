"""The demonstration: a scan of a few held-out prompts of the embedded model, small enough for a minute or two of CPU.

The output folder is that of an ordinary run, with the manifest, the figures and the contact sheet beside the results.
"""

from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner import embedded
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.evaluation.truth import KINDS
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.results import layout
from memscan.scanner.results.store import LocalStore
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Execution

_CAPTIONS, _SEEDS, _STEPS = 4, 2, 3


def demo_job(out: Path) -> Job:
    """The demo's scan of the embedded model, maps and images included; its manifest is written to `out`.

    Raises:
        BundleError: the embedded model is missing or damaged.
    """
    bundle = open_bundle(embedded.BUNDLE)
    with embedded.MANIFEST.open("rb") as stream:
        manifest = pq.read_table(stream)
    with LocalStore(out).writing(layout.PROMPTS) as stream:
        pq.write_table(_prompts(manifest), stream)
    measurement, _ = build_measurement(bundle, Request(timesteps=_timesteps(bundle), save_maps=True, save_images=True))
    return Job(open_manifest(str(out / layout.PROMPTS)), bundle, measurement, Execution(), out)


def _prompts(manifest: pa.Table) -> pa.Table:
    """The first held-out captions of each kind, with the first of their seeds."""
    rows = [row for row in manifest.to_pylist() if row["split"] == "heldout"]
    of_kinds = [[row for row in rows if row["kind"] == kind][:_CAPTIONS] for kind in KINDS]
    chosen = [{**row, "seed": row["seed"][:_SEEDS]} for row in chain.from_iterable(of_kinds)]
    return pa.Table.from_pylist(chosen, manifest.schema)


def _timesteps(bundle: Bundle) -> tuple[int, ...]:
    """The model's first default timestep, and those next to it for which it has calibrated thresholds: three in all."""
    default = bundle.defaults.timesteps[0]
    calibrated = {one.timestep for one in bundle.calibrations if one.map == bundle.defaults.mask_map}
    levels = sorted({default, *calibrated})
    first = max(min(levels.index(default) - _STEPS // 2, len(levels) - _STEPS), 0)
    return tuple(levels[first : first + _STEPS])
