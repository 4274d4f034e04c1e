"""`python -m testbed.embed`: pipeline, baseline and calibrated defaults become memscan's embedded model."""

import json
import shutil

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle_parts import Calibration, Defaults
from memscan.scanner.embedded import BUNDLE, GROUND_TRUTH, MANIFEST
from memscan.scanner.settings import Probes
from testbed.captions import CAPTIONS, split_of
from testbed.scanning import export
from testbed.tables import HOME
from testbed.thresholds import PROBES


def calibrated_options() -> ExportOptions:
    """What calibration.json says the embedded bundle should use, stored in float16; the certificate has the derivative.

    It is measured on the calibration captions.
    """
    choice = json.loads((HOME / "calibration.json").read_text())
    calibrations = tuple(
        Calibration(**{**record, "probes": Probes(**record["probes"])}) for record in choice["calibrations"]
    )
    defaults = Defaults(
        num_inference_steps=choice["num_inference_steps"],
        guidance_scale=choice["guidance_scale"],
        timesteps=(choice["timestep"],),
        probes=PROBES,
        mask_map=choice["mask_map"],
    )
    prompts = tuple(caption.prompt for caption in CAPTIONS if split_of(caption) == "calibration")
    return ExportOptions(storage="float16", defaults=defaults, certify=prompts, calibrations=calibrations)


def main() -> None:
    if BUNDLE.exists():
        shutil.rmtree(BUNDLE)
    export(HOME / "pipeline", HOME / "baseline", BUNDLE, calibrated_options())
    shutil.copyfile(HOME / "manifest.parquet", MANIFEST)
    shutil.copyfile(HOME / "ground_truth.parquet", GROUND_TRUTH)


if __name__ == "__main__":
    main()
