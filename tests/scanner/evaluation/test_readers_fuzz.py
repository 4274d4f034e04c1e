"""Whatever a file of ground truth holds, its reader gives truth or one line: never a traceback, never a huge mask."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from tests.mutation import mutations

MASK = np.arange(64).reshape(8, 8) % 5 < 2
COCO = coco.encode(np.asfortranarray(MASK.astype(np.uint8)))


def parquet(path: Path) -> None:
    columns = {
        "prompt": [f"a mug {i}" for i in range(20)],
        "kind": ["local", "global", "none", "memorized"] * 5,
        "mask": [COCO["counts"], None, None, None] * 5,
        "mask_height": [8] * 20,
        "mask_width": [8] * 20,
        "split": ["heldout"] * 20,
    }
    pq.write_table(pa.table(columns), path)


def json_lines(path: Path) -> None:
    rows = [{"prompt": f"a mug {i}", "kind": "local", "mask": MASK.astype(int).tolist()} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def coco_json(path: Path) -> None:
    counts = COCO["counts"].decode()
    images = [{"id": i, "file_name": f"{i}.png", "caption": f"a mug {i}", "height": 8, "width": 8} for i in range(4)]
    shapes: list[Any] = [{"size": [8, 8], "counts": counts}, [[1, 1, 6, 1, 6, 6]], {"size": [8, 8], "counts": [3, 61]}]
    marks = [{"id": i, "image_id": i, "segmentation": shape, "bbox": [0, 0, 4, 4]} for i, shape in enumerate(shapes)]
    path.write_text(json.dumps({"images": images, "annotations": marks}))


def webster(path: Path) -> None:
    rows = [
        {"caption": f"a mug {i}", "url": "u", "index": i, "overfit_type": kind, "gen_seeds": [i], "retrieved_urls": []}
        | {"mse_real_gen": 1.0, "template_indices": []}
        for i, kind in enumerate(["MV", "N", "MV", "N"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def nemo(path: Path) -> None:
    rows = [f'{i};"a mug {i}";"http://x;y";{kind};0.8;0.9;{i}' for i, kind in enumerate(["VM", "TM"])]
    path.write_text("\n".join([";Caption;URL;type;mean_sscd;max_sscd;Index", *rows]))


@pytest.mark.parametrize(
    ("write", "suffix", "times"),
    [
        (parquet, "parquet", 300),
        (json_lines, "jsonl", 150),
        (coco_json, "json", 300),
        (webster, "parquet", 150),
        (nemo, "csv", 150),
    ],
)
def test_mutated_ground_truth_is_truth_or_one_line(
    write: Any, suffix: str, times: int, tmp_path: Path, longer: int | None
) -> None:
    path = tmp_path / f"truth.{suffix}"
    write(path)
    sound = path.read_bytes()
    assert read_ground_truth(str(path)).truths
    for content in mutations(sound, longer or times, seed=2):
        path.write_bytes(content)
        try:
            truths = read_ground_truth(str(path)).truths
        except UsageError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
            continue
        for truth in truths:
            assert truth.mask is None or truth.mask.size < 10**6
