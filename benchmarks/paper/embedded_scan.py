"""One scan of the embedded model that several experiments read: all captions, two seeds, ten steps of DDIM."""

from pathlib import Path

import pyarrow.parquet as pq

from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE, MANIFEST
from memscan.scanner.results.reader import Results
from memscan.scanner.run.request import Request
from testbed.scanning import scan

SEEDS = (11, 12)
STEPS = 10
TIMESTEPS = (1, 101, 201)
"""Of the sampler's own; the last is the embedded bundle's default, the first the paper's."""


def embedded_scan(work: Path) -> Results:
    """Maps and images in the order of the captions; what `work` holds of the same scan is not scanned again."""
    work.mkdir(parents=True, exist_ok=True)
    manifest = work / "manifest.parquet"
    table = pq.read_table(MANIFEST)
    seeds = table.schema.get_field_index("seed")
    pq.write_table(table.set_column(seeds, table.field(seeds), [[list(SEEDS)] * len(table)]), manifest)
    request = Request(timesteps=TIMESTEPS, num_inference_steps=STEPS, derivative="exact", save_images=True)
    return scan(open_bundle(BUNDLE), manifest, work / "scan", request)
