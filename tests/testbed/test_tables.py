"""The Parquet files in the repository are what the recipe writes, and memscan reads them."""

import io

import numpy as np
import pyarrow.parquet as pq
from PIL import Image as Pillow
from pycocotools import mask as coco

from memscan.scanner.evaluation.ground_truth import read_ground_truth
from testbed.captions import CAPTIONS, SEEDS
from testbed.dataset import masks, template
from testbed.tables import HOME, ground_truth, manifest


def test_manifest_in_the_repository_is_the_recipes() -> None:
    assert pq.read_table(HOME / "manifest.parquet").equals(manifest())
    assert all(seeds == list(SEEDS) for seeds in manifest()["seed"].to_pylist())


def test_ground_truth_in_the_repository_has_the_recipes_masks_and_pictures() -> None:
    stored, drawn = pq.read_table(HOME / "ground_truth.parquet"), ground_truth()
    masks_and_names = [name for name in drawn.column_names if name != "training_image"]
    assert stored.select(masks_and_names).equals(drawn.select(masks_and_names))
    for there, here in zip(stored["training_image"], drawn["training_image"], strict=True):
        assert (_pixels(there.as_py()) == _pixels(here.as_py())).all()  # PNG bytes depend on the zlib at hand


def test_pycocotools_and_memscan_read_the_masks() -> None:
    truths = read_ground_truth(str(HOME / "ground_truth.parquet"))
    rows = pq.read_table(HOME / "ground_truth.parquet").to_pylist()
    for row, caption in zip(rows, CAPTIONS, strict=True):
        expected = masks(caption)
        size = [row["mask_height"], row["mask_width"]]
        for column, region in (("mask", "memorized"), ("free", "free"), ("intrinsic", "intrinsic")):
            decoded = coco.decode({"size": size, "counts": row[column]}).astype(bool)
            assert (decoded == getattr(expected, region)).all()
        (index,) = truths.find(row["id"], row["prompt"])
        assert (truths.truths[index].mask == expected.memorized).all()


def test_training_image_of_a_global_caption_is_its_template() -> None:
    rows = pq.read_table(HOME / "ground_truth.parquet").to_pylist()
    for row, caption in zip(rows, CAPTIONS, strict=True):
        if caption.kind == "global":
            assert np.abs(_pixels(row["training_image"]) / 255 - template(caption)).max() <= 0.5 / 255 + 1e-6


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(png)))
