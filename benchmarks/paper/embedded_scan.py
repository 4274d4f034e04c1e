"""One scan of the embedded model's manifest that several experiments read: 50 steps of DDIM, measured at five."""

from pathlib import Path

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE, MANIFEST
from memscan.scanner.results.reader import Results
from memscan.scanner.run.request import Request
from testbed.scanning import scan

TIMESTEPS = (1, 21, 101, 201, 401)


def embedded_scan(work: Path) -> Results:
    """Maps and images of all captions and seeds; what `work` holds of the same scan is not scanned again."""
    return scan(open_bundle(BUNDLE), MANIFEST, work / "scan", Request(timesteps=TIMESTEPS, save_images=True))
