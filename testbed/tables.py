"""`python -m testbed.tables`: the manifest that is scanned, and the ground truth that it is judged by, as Parquet."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow
from pycocotools import mask as coco

from testbed.captions import CAPTIONS, SEEDS, split_of
from testbed.dataset import SEED, Mask, PrintStock, draw, masks
from testbed.posters import GROUND
from testbed.prints import ANY, DARK, LIGHT, SIZE, Image

HOME = Path(__file__).parent
EXAMPLE_STOCK = {ANY: 40, LIGHT: 10, DARK: 10, GROUND: 10}

MANIFEST_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "prompt": pa.string(),
        "seed": pa.list_(pa.int64()),
        "kind": pa.string(),
        "split": pa.string(),
    }
)
GROUND_TRUTH_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "prompt": pa.string(),
        "kind": pa.string(),
        "split": pa.string(),
        "mask": pa.binary(),
        "free": pa.binary(),
        "intrinsic": pa.binary(),
        "mask_height": pa.int32(),
        "mask_width": pa.int32(),
        "training_image": pa.binary(),
    }
)


def _rle(mask: Mask) -> bytes:
    return bytes(coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.round(image * 255).astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.getvalue()


def manifest() -> pa.Table:
    """One row per caption with the seeds of its images."""
    rows = [
        {
            "id": f"{caption.kind}-{caption.subject}-{index:02d}",
            "prompt": caption.prompt,
            "seed": list(SEEDS),
            "kind": caption.kind,
            "split": split_of(caption),
        }
        for index, caption in enumerate(CAPTIONS)
    ]
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def ground_truth() -> pa.Table:
    """One row per caption: masks as COCO RLE counts, and one training picture as PNG."""
    rng = np.random.default_rng(SEED)
    stock = PrintStock(rng, EXAMPLE_STOCK)
    rows = []
    for entry, caption in zip(manifest().to_pylist(), CAPTIONS, strict=True):
        regions = masks(caption)
        rows.append(
            {key: entry[key] for key in ("id", "prompt", "kind", "split")}
            | {
                "mask": _rle(regions.memorized),
                "free": _rle(regions.free),
                "intrinsic": _rle(regions.intrinsic),
                "mask_height": SIZE,
                "mask_width": SIZE,
                "training_image": _png(draw(caption, rng, stock)),
            }
        )
    return pa.Table.from_pylist(rows, GROUND_TRUTH_SCHEMA)


def main() -> None:
    pq.write_table(manifest(), HOME / "manifest.parquet", compression="zstd")
    pq.write_table(ground_truth(), HOME / "ground_truth.parquet", compression="zstd")


if __name__ == "__main__":
    main()
