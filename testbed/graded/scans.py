"""The bench's own use of memscan: one bundle for each training, and scans of all its prompts.

The strength scan samples many seeds and keeps their images; the scores that sampling gives for nothing come with it.
The measuring scan takes a few of these seeds, on the same paths, and measures every map.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.export.assemble import ExportOptions
from memscan.scanner.bundle import open_bundle
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.reader import Results
from memscan.scanner.run.request import Request
from testbed.graded.captions import graded
from testbed.graded.pictures import commons
from testbed.graded.prompts import others
from testbed.graded.train import START_NAME, folder_name
from testbed.scanning import export, scan

STRENGTH_SEEDS = tuple(range(32))
MEASURED_SEEDS = STRENGTH_SEEDS[:4]
TIMESTEPS = (201, 21)  # they take the place of the sampler's last two
SAMPLING = Request(
    sampler="dpmsolver++", num_inference_steps=10, guidance_scale=1.5, timesteps=TIMESTEPS, derivative="exact"
)
FREE = ("guidance_norm", "guidance_first", "ds_uncond")
MEASURED = tuple(name for name in METRICS if name != "flipd")

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


@dataclass(frozen=True)
class Model:
    """A pipeline folder `name` in a work folder, to be scanned with the prompts of one seed of the bench."""

    work: Path
    name: str
    seed: int

    @classmethod
    def trained(cls, work: Path, seed: int, dropout: int) -> "Model":
        """What `python -m testbed.graded.train` left."""
        return cls(work, folder_name(seed, dropout), seed)

    @classmethod
    def start(cls, work: Path, seed: int) -> "Model":
        """What training starts from: it has never seen what the captions own."""
        return cls(work, START_NAME, seed)

    def bundle(self, baseline: str) -> Path:
        """The exported bundle with a baseline, a pipeline folder of the work folder; made if it is not there.

        What is its own baseline has none.
        """
        bundle = self.work / f"{self.name}+{baseline}.bundle"
        if not bundle.exists():
            early = None if baseline == self.name else self.work / baseline
            export(self.work / self.name, early, bundle, ExportOptions(certify=()))
        return bundle


def manifest(seed: int, seeds: tuple[int, ...]) -> pa.Table:
    """Every prompt of one seed of the bench; `kind` is that of a caption, "common", or the sort of another prompt.

    `count` is 0 and `index` null for what is no graded caption.
    """
    rows = [
        {"kind": c.kind, "prompt": c.prompt, "count": c.count, "index": c.index, "split": c.split} for c in graded(seed)
    ]
    rows += [{"kind": "common", "prompt": c.prompt, "count": 0, "split": "heldout"} for c in commons()]
    rows += [{"kind": other.sort, "prompt": other.prompt, "count": 0, "split": "heldout"} for other in others(seed)]
    for number, row in enumerate(rows):
        row |= {"id": f"{row['kind']}-{number:03d}", "seed": list(seeds)}
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def strength_scan(model: Model, seeds: tuple[int, ...] = STRENGTH_SEEDS) -> Results:
    """Images of all prompts and `seeds`, scanned once."""
    return _scan(model, START_NAME, "strength", seeds, FREE)


def measuring_scan(model: Model, baseline: str = START_NAME) -> Results:
    """Every map of all prompts and MEASURED_SEEDS at TIMESTEPS, scanned once."""
    return _scan(model, baseline, f"measured+{baseline}", MEASURED_SEEDS, MEASURED)


def _scan(model: Model, baseline: str, what: str, seeds: tuple[int, ...], metrics: tuple[str, ...]) -> Results:
    mask_map = next(name for name in metrics if name in MAPS)
    request = dataclasses.replace(SAMPLING, save_images=True, carry=CARRIED, metrics=metrics, mask_map=mask_map)
    file = model.work / f"{model.name}-{what}.parquet"
    if model.name == START_NAME:
        file = file.with_stem(f"{file.stem}-seed{model.seed}")
    pq.write_table(manifest(model.seed, seeds), file)
    return scan(open_bundle(model.bundle(baseline)), file, file.with_suffix(""), request)
