"""`python -m testbed.thresholds`: thresholds of all maps, timesteps and derivatives, at the chosen settings.

Scans the calibration captions with a fresh export of the repository's own pipeline and baseline, by every derivative,
and writes what it finds into calibration.json. `python -m testbed.embed` makes the embedded bundle of it.
"""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle import open_bundle
from memscan.scanner.bundle_parts import Calibration
from memscan.scanner.calibration.thresholds import BestThreshold, best_threshold
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.results.reader import Results
from memscan.scanner.run.request import Request
from memscan.scanner.settings import DERIVATIVES, Probes
from testbed.captions import CAPTIONS
from testbed.cells import cover
from testbed.dataset import masks
from testbed.scanning import export, image_keys, prompts_of, scan, step_indices
from testbed.tables import HOME

CHOICE = HOME / "calibration.json"
NUM_INFERENCE_STEPS = 50
PROBES = Probes("lattice", 8)
TIMESTEPS = (301, 201, 141, 101, 61, 21, 1)

Found = dict[tuple[str, int], BestThreshold]  # by map and timestep


def calibrations(guidance_scale: float) -> list[Calibration]:
    """The best thresholds by every derivative, of all maps at all timesteps; prints the IoU that they reach."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        bundle, manifest = Path(work) / "bundle", Path(work) / "manifest.parquet"
        export(HOME / "pipeline", HOME / "baseline", bundle, ExportOptions(storage="float16", certify=()))
        write_manifest(manifest)
        for derivative in DERIVATIVES:
            request = Request(
                timesteps=TIMESTEPS,
                num_inference_steps=NUM_INFERENCE_STEPS,
                guidance_scale=guidance_scale,
                probe_kind=PROBES.kind,
                num_probes=PROBES.count,
                derivative=derivative,
                metrics=MAPS,
            )
            best = thresholds_of(scan(open_bundle(bundle), manifest, Path(work) / derivative, request))
            print_ious(f"{derivative} derivative", best)
            found += [
                Calibration(name, t, one.threshold, NUM_INFERENCE_STEPS, guidance_scale, PROBES, derivative=derivative)
                for (name, t), one in sorted(best.items())
            ]
    return found


def thresholds_of(results: Results) -> Found:
    """Best threshold of every map at every timestep of a scan of the calibration captions."""
    keys = image_keys(results)
    prompts = prompts_of(results)
    truths = {caption.prompt: masks(caption).memorized for caption in CAPTIONS}
    found = {}
    for timestep, index in step_indices(results).items():
        for name in MAPS:
            maps = results.maps(name, index, keys)
            truth = np.stack([cover(truths[prompts[row]], maps.shape[1:]) for row, _ in keys])
            found[name, timestep] = best_threshold(maps, truth)
    return found


def print_ious(title: str, found: Found) -> None:
    """The IoU at the best fixed thresholds, a line for each timestep."""
    print(f"\n{title}: IoU at the best fixed threshold")
    for timestep in TIMESTEPS:
        print(f"  t={timestep:<4}", *(f"{name} {found[name, timestep].iou:.3f}" for name in MAPS), flush=True)


def write_manifest(file: Path) -> None:
    """The rows of the manifest that calibrate."""
    table = pq.read_table(HOME / "manifest.parquet")
    pq.write_table(table.filter(pc.equal(table["split"], "calibration")), file)


def main() -> None:
    choice = json.loads(CHOICE.read_text())
    choice["calibrations"] = [dataclasses.asdict(one) for one in calibrations(choice["guidance_scale"])]
    CHOICE.write_text(json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    main()
