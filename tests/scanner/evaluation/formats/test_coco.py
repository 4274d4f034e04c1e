"""COCO JSON: joined by prompt, id or memscan's file names; masks against pycocotools."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.polygons import polygon_mask
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.truth import GroundTruth

TOP = np.arange(64).reshape(8, 8) < 32
RLE = coco.encode(np.asfortranarray(TOP.astype(np.uint8)))
TEXT = {"size": [8, 8], "counts": RLE["counts"].decode()}


def image(id: int, **more: Any) -> dict[str, Any]:
    return {"id": id, "height": 8, "width": 8} | more


def read(folder: Path, images: Any, annotations: Any) -> GroundTruth:
    (folder / "truth.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return read_ground_truth(str(folder / "truth.json"))


def test_images_are_known_by_prompt_by_id_and_by_our_own_file_names(tmp_path: Path) -> None:
    images = [
        image(1, prompt="a", seed=4),
        image(2),
        image(3, file_name="images/00000/00000012-7.png"),
        image(4, caption="b"),
    ]
    truth = read(tmp_path, images, [{"image_id": id, "segmentation": TEXT} for id in (1, 2, 3)])
    assert (truth.find(None, "a", 4), truth.find(None, "a", 5)) == ((0,), ())
    assert truth.find("2", "whatever", 0) == (1,)
    assert (truth.find(None, "c", 7, 12), truth.find(None, "c", 8, 12)) == ((2,), ())
    assert [one.kind for one in truth.truths] == ["local", "local", "local", "none"]
    assert truth.truths[0].mask is not None and truth.truths[0].mask.tolist() == TOP.tolist()
    assert truth.remarks[0].endswith("4 images, 1 of them without an annotation: nothing is memorized in these")


def test_annotations_of_one_image_are_united(tmp_path: Path) -> None:
    rectangles = [[0, 0, 8, 0, 8, 4, 0, 4]], [[0, 4, 8, 4, 8, 8, 0, 8]]
    annotations = [{"image_id": 1, "segmentation": one} for one in rectangles]
    assert read(tmp_path, [image(1)], annotations).truths[0].kind == "global"
    (half,) = read(tmp_path, [image(1)], annotations[:1]).truths
    assert half.mask is not None and half.mask.tolist() == TOP.tolist()


def test_run_lengths_as_lists(tmp_path: Path) -> None:
    runs = {"size": [8, 8], "counts": [0, 4, *[4] * 15]}
    (one,) = read(tmp_path, [image(1)], [{"image_id": 1, "segmentation": runs}]).truths
    assert one.mask is not None and one.mask.tolist() == TOP.tolist()


def test_polygons_agree_with_pycocotools_but_for_their_outline() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        angle = np.sort(generator.uniform(0, 2 * np.pi, 9))
        radius = generator.uniform(12, 28, 9)
        points = np.stack((32 + radius * np.cos(angle), 32 + radius * np.sin(angle)), axis=1).ravel().tolist()
        theirs = coco.decode(coco.merge(coco.frPyObjects([points], 64, 64))) > 0
        differing = polygon_mask(points, 64, 64) != theirs
        inner = theirs.copy()
        inner[1:-1, 1:-1] &= theirs[:-2, 1:-1] & theirs[2:, 1:-1] & theirs[1:-1, :-2] & theirs[1:-1, 2:]
        grown = theirs.copy()
        grown[1:] |= theirs[:-1]
        grown[:-1] |= theirs[1:]
        grown[:, 1:] |= grown[:, :-1].copy()
        grown[:, :-1] |= grown[:, 1:].copy()
        assert not (differing & inner).any()
        assert not (differing & ~grown).any()


@pytest.mark.parametrize("box", [(0, 0, 8, 8), (2, 1, 5, 7), (-3, -3, 4, 20)])
def test_a_rectangle_is_exact(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    mask = polygon_mask([left, top, right, top, right, bottom, left, bottom], 8, 8)
    expected = np.zeros((8, 8), bool)
    expected[max(top, 0) : bottom, max(left, 0) : right] = True
    assert mask.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        ({}, [], "is no COCO JSON: its images are no list of objects"),
        ([image(1), image(1)], [], "image 1: its id 1 is that of another image"),
        ([{"id": 1}], [], "image 0: height is None, not a whole number from 1"),
        (
            [image(1, height=2**40, width=2**40)],
            [],
            "height is 1099511627776, not a whole number from 1 to 67108864",
        ),
        ([image(1, height=10**5, width=10**5)], [], "image 0: 100000 x 100000 pixels are too many"),
        ([image(1)], [{"image_id": 2, "segmentation": TEXT}], "annotation 0: its image 2 is not among the images"),
        ([image(1)], [{"image_id": [1], "segmentation": TEXT}], "annotation 0: the id of an image is [1], neither"),
        ([image(1)], [{"image_id": 1}], "annotation 0: its segmentation is None, neither a run-length dictionary"),
        ([image(1)], [{"image_id": 1, "segmentation": [[1, 2, 3, 4]]}], "annotation 0: a polygon has 4 coordinates"),
        ([image(1)], [{"image_id": 1, "segmentation": [[1, 2, 3, "4", 5, 6]]}], "a polygon has the coordinate '4'"),
        ([image(1)], [{"image_id": 1, "segmentation": [[50, 50, 60, 50, 60, 60]]}], "annotation 0: its mask is empty"),
        ([image(1, height=4)], [{"image_id": 1, "segmentation": TEXT}], "its mask is of 8 x 8 pixels, its image of 4"),
        ([image(1, prompt=7)], [], "image 0: the prompt is 7, not a text"),
        ([image(1, prompt="a", seed=-1)], [], "image 0: seed is -1, not a whole number from 0"),
        ([image(1, prompt="a"), image(2, prompt="a")], [], "rows 0 and 1 have the same prompt 'a'"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, images: Any, annotations: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read(tmp_path, images, annotations)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[1, 2")
    with pytest.raises(UsageError, match=r"t\.json is no JSON"):
        read_ground_truth(str(tmp_path / "t.json"))
