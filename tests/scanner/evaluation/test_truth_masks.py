"""Masks in every form that people have them in, and one line with the row for each value that cannot be."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.evaluation.truth_masks import condensed
from memscan.scanner.results.reader import open_results
from tests.scanner.results.fabricated import scanned, write_results

MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
COCO = coco.encode(np.asfortranarray(MASK))
RUNS = [2, 1, 1, 2]
PIXELS = pa.list_(pa.list_(pa.float64()))


def read(tmp_path: Path, **columns: Any) -> GroundTruth:
    """Rows whose kind is local, unless it is given; the prompts are numbered."""
    count = max(len(values) for values in columns.values())
    table = pa.table({"prompt": list(map(str, range(count))), "kind": ["local"] * count} | columns)
    pq.write_table(table, tmp_path / "truth.parquet")
    return read_ground_truth(str(tmp_path / "truth.parquet"))


def refusal(tmp_path: Path, **columns: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, **columns)
    said = str(caught.value)
    assert "\n" not in said
    return said.removeprefix(f"{tmp_path / 'truth.parquet'}")


@pytest.mark.parametrize(
    "columns",
    [
        {"mask": [COCO["counts"]], "mask_height": [2], "mask_width": [3]},
        {"mask": [COCO["counts"].decode()], "mask_height": [2.0], "mask_width": [3.0]},
        {"mask": pa.array([COCO["counts"]]).dictionary_encode(), "mask_height": [2], "mask_width": [3]},
        {"mask": [COCO]},
        {"mask": [{"size": [2, 3], "counts": COCO["counts"].decode()}]},
        {"mask": [{"size": [2, 3], "counts": RUNS}]},
        {"mask": [MASK.tolist()]},
        {"mask": [(MASK > 0).tolist()]},
        {"mask": pa.array([MASK.astype(float).tolist()], PIXELS)},
    ],
    ids=["bytes", "text", "encoded", "dictionary", "text-counts", "run-lengths", "rows", "booleans", "floats"],
)
def test_every_form_is_the_same_mask(tmp_path: Path, columns: dict[str, Any]) -> None:
    (one,) = read(tmp_path, **columns).truths
    assert one.mask is not None
    assert one.mask.tolist() == (MASK > 0).tolist()


def test_sizes_may_be_floats_with_nan_where_there_is_no_mask(tmp_path: Path) -> None:
    sizes = pa.array([float("nan"), 2.0, None]), pa.array([float("nan"), 3.0, None])
    kinds, counts = ["global", "local", "none"], [None, COCO["counts"], None]
    truth = read(tmp_path, kind=kinds, mask=counts, mask_height=sizes[0], mask_width=sizes[1])
    assert [one.mask.mean() for one in truth.truths if one.mask is not None] == [1.0, 0.5, 0.0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mask": [b"0"], "mask_height": [NAN], "mask_width": [3.0]}, ": row 0: mask_height is null"),
        ({"mask": [b"0"]}, ": row 0: mask_height is null"),
        ({"mask": [b"0"], "mask_height": [2.5], "mask_width": [3]}, ": row 0: mask_height is 2.5, not a number of pix"),
        ({"mask": [b"0"], "mask_height": [-2], "mask_width": [-3]}, ": row 0: mask_height is -2, not a number of pix"),
        ({"mask": [b"0"], "mask_height": [float("inf")], "mask_width": [3]}, ": row 0: mask_height is inf, not a numb"),
        ({"mask": [b"0"], "mask_height": [10**5], "mask_width": [10**5]}, "a mask of 100000 x 100000 pixels is too la"),
        ({"mask": [b"0"], "mask_height": [2**62], "mask_width": [1]}, "is 4611686018427387904, not a number of pixels"),
        ({"mask": [b"6"], "mask_height": [2], "mask_width": [2]}, ": row 0: mask is not a COCO RLE of 2 x 2 pixels"),
        ({"mask": [b"\xff"], "mask_height": [2], "mask_width": [2]}, "row 0: mask is not a COCO RLE: it holds the by"),
        ({"mask": [b"0"], "mask_height": ["2"], "mask_width": [2]}, "column mask_height is string, not numbers"),
        ({"mask": [3]}, "its column mask is int64, not masks in a form that docs/ground-truth.md names"),
        ({"mask": [{"counts": b"0"}]}, "its column mask is struct<counts: binary>, not masks in a form"),
        ({"mask": [{"size": [2], "counts": b"0"}]}, ": row 0: the size of the mask is [2], not [height, width]"),
        ({"mask": [{"size": [2, 3], "counts": [6, -6, 6]}]}, "the counts of the mask are no run lengths of 2 x 3"),
        ({"mask": [{"size": [2, 3], "counts": [10**12]}]}, "the counts of the mask are no run lengths of 2 x 3"),
        (
            {"mask": [[[10.5, 20.0, 30.25, 40.0]]]},
            "of other numbers than 0 and 1: polygons are not read, give COCO RLE",
        ),
        ({"mask": [[[0, 1], [1]]]}, ": row 0: the rows of the mask are empty, or of different lengths"),
        ({"mask": pa.array([[]], PIXELS)}, ": row 0: the mask is a list, but not of rows of 0 and 1"),
        ({"mask": pa.array([[None]], PIXELS)}, ": row 0: the mask is a list, but not of rows of 0 and 1"),
        ({"kind": [3]}, "is no ground truth: its column kind is int64, not text"),
        ({"kind": [None]}, ": row 0: kind is None, not one of global, local, memorized, none"),
        (
            {"kind": ["none"], "training_image": ["a.png"]},
            "its column training_image is string, not the bytes of image",
        ),
        ({"kind": ["none"], "training_image": [{"bytes": None, "path": "a.png"}]}, None),
    ],
)
def test_what_cannot_be_is_one_line_with_its_row(tmp_path: Path, columns: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert read(tmp_path, **columns).truths[0].training_image is None
    else:
        assert message in refusal(tmp_path, **columns)


@pytest.mark.parametrize("name", ["prompt", "kind", "split", "id"])
def test_text_that_is_not_utf_8_is_named(tmp_path: Path, name: str) -> None:
    offsets, content = pa.py_buffer(np.array([0, 4, 8], np.int32).tobytes()), pa.py_buffer(b"nonecaf\xe9")
    strings = pa.StringArray.from_buffers(2, offsets, content)
    said = refusal(tmp_path, **({"kind": ["none", "none"]} | {name: strings}))
    assert re.match(rf": row 1: {name} is (not UTF-8|'caf)", said)


def test_masks_are_kept_no_larger_than_they_are_scored() -> None:
    large = np.random.default_rng(0).random((300, 1000)) < 0.5
    assert condensed(large).shape == (256, 256)
    assert (nearest(condensed(large), 256) == nearest(large, 256)).all()
    assert condensed(large[:100, :100]) is not None and condensed(large[:100, :100]).shape == (100, 100)


def test_labels_without_masks_are_enough_for_detection(tmp_path: Path) -> None:
    truth = read(tmp_path, kind=["none", "global", "local"])
    maps = [{"dh_uncond": np.full((8, 8), level, np.float32)} for level in (0.1, 0.6, 0.7)]
    results = write_results(tmp_path / "out", [scanned(row, str(row), one) for row, one in enumerate(maps)])
    evaluation = evaluate(open_results(results), truth)
    assert {(one.kind, one.auc) for one in evaluation.records} == {
        *(("none", None), ("global", 1.0), ("local", 1.0), ("all", 1.0))
    }
    assert {one.iou for one in evaluation.records} == {None}
    assert evaluation.notes == ("the ground truth has no masks: detection alone is evaluated",)
