"""`python -m testbed.calibrate`: choose guidance, baseline, timestep and thresholds, on the calibration captions alone.

Everything by the exact derivative. Guidance first (with a provisional baseline), then the baseline checkpoint, then
the timestep: each by the sum of the IoU of dh_uncond and dh_base at their best fixed thresholds over all calibration
images. The choice goes to calibration.json, from which `python -m testbed.embed` makes the embedded bundle, and to
testbed/baseline.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle import open_bundle
from memscan.scanner.run.request import Request
from testbed.assemble import checkpoint_folder, save_pipeline
from testbed.scanning import export, scan
from testbed.tables import HOME
from testbed.thresholds import (
    CHOICE,
    NUM_INFERENCE_STEPS,
    TIMESTEPS,
    Found,
    calibrations,
    print_ious,
    thresholds_of,
    write_manifest,
)

GUIDANCES = (1.5, 2.5, 4.0)
BASELINES = (0.10, 0.15, 0.20, 0.25)
PROVISIONAL_BASELINE = 0.20
CHOOSERS = ("dh_uncond", "dh_base")


@dataclass(frozen=True)
class Setting:
    """One point of the search."""

    guidance: float
    baseline: float


class Calibrator:
    """Exports and scans each setting once, inside the training's work folder."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._folder = work / "calibration"
        self._folder.mkdir(exist_ok=True)
        self._manifest = self._folder / "manifest.parquet"
        write_manifest(self._manifest)

    def find(self, setting: Setting) -> Found:
        """Best thresholds of all maps at all timesteps for one setting; prints them."""
        name = f"baseline-{setting.baseline:.2f}"
        out = self._folder / f"{name}-guidance-{setting.guidance:g}"
        request = Request(
            timesteps=TIMESTEPS,
            num_inference_steps=NUM_INFERENCE_STEPS,
            guidance_scale=setting.guidance,
            derivative="exact",
        )
        found = thresholds_of(scan(open_bundle(self._bundle(setting.baseline)), self._manifest, out, request))
        print_ious(f"guidance {setting.guidance:g}, baseline {setting.baseline:.0%}", found)
        return found

    def _bundle(self, baseline: float) -> Path:
        bundle = self._folder / f"baseline-{baseline:.2f}.bundle"
        if not bundle.exists():
            pipelines = {share: self._work / "pipelines" / f"{share:.2f}" for share in (1.0, baseline)}
            for share, folder in pipelines.items():
                save_pipeline(self._work, share, folder)
            export(pipelines[1.0], pipelines[baseline], bundle, ExportOptions(certify=()))
        return bundle


def _merit(found: Found, timestep: int) -> float:
    return sum(found[name, timestep].iou for name in CHOOSERS)


def _best_merit(found: Found) -> float:
    return max(_merit(found, timestep) for timestep in TIMESTEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder that `python -m testbed.train` filled")
    work = parser.parse_args().work
    calibrator = Calibrator(work)
    by_guidance = {g: calibrator.find(Setting(g, PROVISIONAL_BASELINE)) for g in GUIDANCES}
    guidance = max(GUIDANCES, key=lambda g: _best_merit(by_guidance[g]))
    by_baseline = {share: calibrator.find(Setting(guidance, share)) for share in BASELINES}
    baseline = max(BASELINES, key=lambda share: _best_merit(by_baseline[share]))
    found = by_baseline[baseline]
    timestep = max(TIMESTEPS, key=lambda t: _merit(found, t))
    print(f"\nchosen: guidance {guidance:g}, baseline {baseline:.0%}, timestep {timestep}")
    save_pipeline(work, baseline, HOME / "baseline")
    print(f"baseline from {checkpoint_folder(work, baseline).name}% of the training")
    choice = {
        "num_inference_steps": NUM_INFERENCE_STEPS,
        "guidance_scale": guidance,
        "timestep": timestep,
        "baseline_share": baseline,
        "mask_map": "dh_uncond",
        "calibrations": [asdict(calibration) for calibration in calibrations(guidance)],
    }
    CHOICE.write_text(json.dumps(choice, indent=1) + "\n")


if __name__ == "__main__":
    main()
