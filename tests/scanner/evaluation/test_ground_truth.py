"""Ground truth files: what is read, how it is joined, and the one line for each thing that is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.truth import GroundTruth
from tests.scanner.results.fabricated import write_ground_truth

HALF = np.arange(64).reshape(8, 8) < 32


def read(tmp_path: Path, *rows: dict[str, Any]) -> GroundTruth:
    return read_ground_truth(str(write_ground_truth(tmp_path / "truth.parquet", rows)))


def test_join_prefers_id_and_falls_back_to_prompt(tmp_path: Path) -> None:
    truth = read(
        tmp_path,
        {"id": "a", "prompt": "a cup", "kind": "local", "mask": HALF},
        {"id": None, "prompt": "a rug", "kind": "none", "mask": ~HALF & HALF},
    )
    assert truth.find("a", "a rug") == (0,)
    assert truth.find(None, "a cup") == (0,)
    assert truth.find("unknown id", "a rug") == (1,)
    assert truth.find("unknown id", "A cup") == ()
    assert truth.find(None, None) == ()


def test_ids_alone_suffice_whatever_their_type(tmp_path: Path) -> None:
    truth = read(tmp_path, {"id": 7, "kind": "global", "mask": None})
    assert truth.find("7", "anything") == (0,)


def test_masks_of_global_and_none_may_be_left_out(tmp_path: Path) -> None:
    truth = read(
        tmp_path,
        {"prompt": "a", "kind": "global", "mask": None},
        {"prompt": "b", "kind": "none", "mask": None},
        {"prompt": "c", "kind": "local", "mask": HALF},
    )
    assert [one.mask.mean() for one in truth.truths] == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"kind": "partial", "mask": HALF}, "row 0: kind is 'partial', not one of global, local, memorized, none"),
        ({"kind": "global", "mask": HALF}, "row 0: kind is global, but its mask leaves out 50.0% of the image"),
        ({"kind": "none", "mask": HALF}, "row 0: kind is none, but its mask covers 50.0% of the image"),
        ({"kind": "local", "mask": HALF & ~HALF}, "row 0: kind is local, but its mask is empty"),
        ({"kind": "local", "mask": None}, "row 0: kind is local, but its mask is null"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=f"truth.parquet: {problem}$"):
        read(tmp_path, {"prompt": "a cup", **row})


def test_twice_the_same_prompt_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "a cup", "kind": "global", "mask": None}
    with pytest.raises(UsageError, match=r"truth.parquet: rows 0 and 1 have the same prompt 'a cup'$"):
        read(tmp_path, row, row)


def test_a_prompt_under_several_ids_is_joined_on_id_alone(tmp_path: Path) -> None:
    """One prompt can have a template for each seed; which one an image shows, its prompt does not say."""
    truth = read(
        tmp_path,
        {"id": "a", "prompt": "a cup", "kind": "local", "mask": HALF},
        {"id": "b", "prompt": "a cup", "kind": "local", "mask": ~HALF},
    )
    assert [truth.find(id, "a cup") for id in ("a", "b", "c", None)] == [(0,), (1,), (), ()]
    with pytest.raises(UsageError, match=r"rows 0 and 1 have the same id 'a'$"):
        read(tmp_path, *[{"id": "a", "prompt": prompt, "kind": "global", "mask": None} for prompt in ("x", "y")])


def test_missing_columns_are_listed_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "truth.parquet"
    pq.write_table(pa.table({"caption": ["a"], "label": ["none"]}), file)
    message = r"lacks prompt \(or id\), kind; it has caption, label$"
    with pytest.raises(UsageError, match=message):
        read_ground_truth(str(file))


def test_a_file_that_is_not_there_and_one_that_is_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no ground truth at .*: give a file, or the word testbed$"):
        read_ground_truth(str(tmp_path / "truth.parquet"))
    (tmp_path / "truth.parquet").write_text("prompt,kind\n")
    with pytest.raises(UsageError, match=r"truth.parquet cannot be read as Parquet \(Parquet magic bytes not found"):
        read_ground_truth(str(tmp_path / "truth.parquet"))
