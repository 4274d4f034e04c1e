"""Webster's ground truth with all its traps, in small files of the same schema, written here."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.reading import Reading
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.truth import GroundTruth, Truth

LEFT = np.arange(64).reshape(8, 8) % 8 < 4
TOP = np.arange(64).reshape(8, 8) < 32


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset root: two templates, left and top, and one retrieved picture."""
    for folder in ("templates", "retrieved", "groundtruth_parquets"):
        (tmp_path / folder).mkdir()
    for name, mask in (("left", LEFT), ("top", TOP)):
        (tmp_path / "templates" / f"{name}_img.png").write_bytes(png(np.full((8, 8, 3), 90)))
        (tmp_path / "templates" / f"{name}_mask.png").write_bytes(png(mask * 255))
    names = ["left", "top"]
    files = {part: [f"templates/{name}_{part}.png" for name in names] for part in ("img", "mask")}
    templates = pa.table({"url": ["u0", "u1"], "img_file": files["img"], "mask_file": files["mask"]})
    pq.write_table(templates, tmp_path / "templates" / "metadata.parquet")
    (tmp_path / "retrieved" / "a.png").write_bytes(png(np.full((8, 8, 3), 33)))
    pq.write_table(pa.table({"img_file": ["retrieved/a.png"], "url": ["r0"]}), tmp_path / "retrieved/metadata.parquet")
    return tmp_path


def row(caption: str, kind: str, seeds: list[Any], templates: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    base = {"caption": caption, "url": "http://x", "index": 7, "overfit_type": kind, "gen_seeds": seeds}
    return base | {"retrieved_urls": [], "mse_real_gen": 1.0, "template_indices": templates or []} | more


def read(root: Path, *rows: dict[str, Any], **reading: Any) -> GroundTruth:
    file = root / "groundtruth_parquets" / "sdv1_bb_edge_groundtruth.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return read_ground_truth(str(file), Reading(**reading))


def of(truth: GroundTruth, prompt: str, seed: int) -> list[Truth]:
    return [truth.truths[index] for index in truth.find(None, prompt, seed)]


def test_seeds_as_numbers_and_as_pairs_are_the_same_truth(root: Path) -> None:
    plain = read(root, row("a", "TV", [3, 7], [[1]]))
    pairs = read(root, row("a", "TV", [[3, 1], [7, 1]]))
    for truth in (plain, pairs):
        for seed in (3, 7):
            (one,) = of(truth, "a", seed)
            assert one.kind == "local" and one.mask is not None and one.mask.tolist() == TOP.tolist()
        assert of(truth, "a", 4) == []


def test_templates_of_one_image_are_united_or_each(root: Path) -> None:
    rows = [row("a", "TV", [[3, 0], [3, 1], [5, 0]])]
    (united,) = of(read(root, *rows), "a", 3)
    assert united.mask is not None and united.mask.tolist() == (LEFT | TOP).tolist()
    each = of(read(root, *rows, pairs="each"), "a", 3)
    assert [one.mask.tolist() for one in each if one.mask is not None] == [LEFT.tolist(), TOP.tolist()]
    assert len(of(read(root, *rows, pairs="each"), "a", 5)) == 1


def test_unpaired_templates_belong_to_every_seed(root: Path) -> None:
    (one,) = of(read(root, row("a", "TV", [3], [[0, 1]])), "a", 3)
    assert one.mask is not None and one.mask.tolist() == (LEFT | TOP).tolist()


@pytest.mark.parametrize("seeds", [[[3, 0]], [[3, -1]], [3]])
@pytest.mark.parametrize("kind", ["MV", "RV"])
def test_whole_copies_are_all_ones_whatever_the_second_number(root: Path, kind: str, seeds: list[Any]) -> None:
    """Of RV it indexes the retrieved pictures: template 0 would be the left half."""
    (one,) = of(read(root, row("a", kind, seeds)), "a", 3)
    assert one.kind == "global" and one.mask is not None and one.mask.all()
    assert one.retrieved == (kind == "RV")
    retrieved = kind == "RV" and seeds == [[3, 0]]
    assert one.training_image == (png(np.full((8, 8, 3), 33)) if retrieved else None)


def test_no_seeds_are_whatever_seed(root: Path) -> None:
    truth = read(root, {**row("a", "MV", [3]), "gen_seeds": None}, row("b", "MV", [3]))
    assert [one.kind for seed in (0, 99) for one in of(truth, "a", seed)] == ["global", "global"]
    assert of(truth, "b", 0) == []
    anything = read(root, row("b", "TV", [[3, 0], [5, 1]]), seeds="any")
    (one,) = of(anything, "b", 0)
    assert one.mask is not None and one.mask.tolist() == (LEFT | TOP).tolist()


def test_without_a_compared_download_n_is_unknown_and_no_negative(root: Path) -> None:
    truth = read(root, row("a", "MV", [[3, -1]]), row("b", "N", [[0, -1]]))
    assert of(truth, "b", 0) == []
    assert truth.remarks[0] == (
        "ground truth of the format webster (Webster's: caption, overfit_type, gen_seeds), told by its columns:"
        " 2 prompts, 1 of them memorized, 0 not, 1 unknown"
    )
    assert "so they are unknown and no negatives (--images FOLDER" in truth.remarks[1]


def test_downloads_tell_negatives_from_failures(root: Path) -> None:
    downloads = root / "dl"
    downloads.mkdir()
    for name, level in (("dl_000.jpg", 200), ("dl_001.jpg", 200), ("dl_002.jpg", 0)):
        Image.new("RGB", (256, 256), (level,) * 3).save(downloads / name, quality=100)
    rows = [row("copy", "MV", [[3, -1]]), *(row(name, "N", [[0, -1]]) for name in ("tested", "black", "missing"))]
    truth = read(root, *rows, downloads=downloads)
    assert [one.kind for one in of(truth, "tested", 0)] == ["none"]
    assert of(truth, "black", 0) == of(truth, "missing", 0) == []
    assert of(truth, "copy", 3)[0].training_image == (downloads / "dl_000.jpg").read_bytes()


def test_a_column_can_say_that_the_picture_was_there(root: Path) -> None:
    rows = [row(name, "N", [[0, -1]], image_available=there) for name, there in (("a", True), ("b", False))]
    truth = read(root, *rows)
    assert ([one.kind for one in of(truth, "a", 0)], of(truth, "b", 0)) == (["none"], [])


def test_json_lines_and_other_names_of_columns(root: Path) -> None:
    file = root / "sdv1_TV.jsonl"
    file.write_text('{"caption":"a","overfit_type":"TV","gen_seeds":[[3,1]],"template_indices":[]}\n')
    (one,) = of(read_ground_truth(str(file)), "a", 3)
    assert one.mask is not None and one.mask.tolist() == TOP.tolist()
    other = root / "other.jsonl"
    other.write_text('{"TEXT":"a","label":"template-verbatim","gen_seeds":[3]}\n{"TEXT":"b","label":"normal"}\n')
    found = read_ground_truth(str(other), Reading(format="webster"))
    assert [one.kind for one in found.truths] == ["local"]


def test_a_prompt_in_several_rows_is_one(root: Path) -> None:
    truth = read(root, row("a", "TV", [[3, 0]]), row("a", "TV", [[3, 1], [5, 1]]), row("a", "N", [[0, -1]]))
    (one,) = of(truth, "a", 3)
    assert one.mask is not None and one.mask.tolist() == (LEFT | TOP).tolist()
    assert [len(of(truth, "a", seed)) for seed in (3, 5, 0)] == [1, 1, 0]
    assert len({truth.caption(index) for index in range(len(truth.truths))}) == 1


def test_without_templates_their_region_is_unknown_and_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "g.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row("a", "TV", [[3, 0]])]), file)
    truth = read_ground_truth(str(file))
    assert (truth.truths[0].kind, truth.truths[0].mask, truth.has_masks) == ("local", None, False)
    assert "--templates FOLDER names the folder that holds it" in truth.remarks[1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"overfit_type": "XV"}, "row 0: overfit_type is 'XV', not one of MV, RV, MVRV, TV, N,"),
        ({"caption": None}, "row 0: the prompt is None, not a text"),
        ({"gen_seeds": [[3, 9]]}, "row 0: there is no template 9: templates/metadata.parquet has 2"),
        ({"gen_seeds": [[3, -2]]}, "row 0: an index of gen_seeds is -2, not a whole number from -1"),
        ({"gen_seeds": [[-3, 0]]}, "row 0: a seed of gen_seeds is -3, not a whole number from 0"),
        ({"gen_seeds": [[1, 2, 3]]}, "row 0: gen_seeds holds [1, 2, 3], neither a seed nor a pair of it"),
        ({"gen_seeds": "3"}, "row 0: gen_seeds is '3', not a list"),
        ({"gen_seeds": [1e300]}, "row 0: a seed of gen_seeds is 1e+300, not a whole number"),
        ({"gen_seeds": [3], "template_indices": [["x"]]}, "row 0: an index of template_indices is 'x', not a whole"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_row(root: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read(root, row("a", "TV", [[3, 0]]) | bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.png", "row 0: the mask: the image ../secret.png lies outside of"),
        ("/dev/zero", "row 0: the mask: the image /dev/zero lies outside of"),
        ("templates", "row 0: the mask: the image templates cannot be read: Is a directory"),
        ("gone.png", "row 0: the mask: no such image: gone.png"),
        ("templates/metadata.parquet", "row 0: the mask: image cannot be decoded"),
        ("http://x/a.png", "row 0: the mask: the image http://x/a.png is a URL"),
        ("a\0b", "row 0: row 0 of templates/metadata.parquet names 'a\\x00b', no file"),
    ],
)
def test_masks_are_regular_files_below_the_root(root: Path, path: str, message: str) -> None:
    (root.parent / "secret.png").write_bytes(png(TOP * 255))
    table = pa.table({"url": ["u"], "img_file": ["x.png"], "mask_file": [path]})
    pq.write_table(table, root / "templates" / "metadata.parquet")
    with pytest.raises(UsageError, match=re.escape(message)):
        read(root, row("a", "TV", [[3, 0]]))


def test_a_mask_that_is_a_pipe_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    table = pa.table({"url": ["u"], "img_file": ["x.png"], "mask_file": ["pipe.png"]})
    pq.write_table(table, root / "templates" / "metadata.parquet")
    with pytest.raises(UsageError, match=r"the image pipe\.png is no regular file$"):
        read(root, row("a", "TV", [[3, 0]]))


def test_a_folder_without_templates_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"no templates/metadata\.parquet in .*: --templates names the folder"):
        read(root, row("a", "TV", [[3, 0]]), templates=root / "retrieved")
