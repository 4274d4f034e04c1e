"""Strength by Webster's rule, on pictures whose distance is known."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from memscan.scanner.evaluation.copies import COPY_RMSE
from testbed.bench.copies import Originals, distances, is_copy, strength
from testbed.bench.strength import binned, strength_lines, strengths

SIZE = 8
LEFT = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % SIZE < SIZE // 2
OWNED = Originals(
    np.array([3, 7]),
    np.stack([np.zeros((SIZE, SIZE, 3)), np.ones((SIZE, SIZE, 3))]).astype(np.float32),
    np.stack([LEFT, np.ones_like(LEFT)]),
)
NEAR, FAR = COPY_RMSE - 0.001, COPY_RMSE + 0.001


def grey(value: float) -> NDArray[np.float64]:
    return np.full((SIZE, SIZE, 3), value)


def test_distances_are_to_the_memorized_part_alone() -> None:
    half = np.where(LEFT[..., None], 0.1, 0.9) * np.ones((SIZE, SIZE, 3))
    found = distances(np.stack([half, grey(1.0)]), OWNED)
    np.testing.assert_allclose(found, [[0.1, np.sqrt((0.81 + 0.01) / 2)], [1.0, 0.0]], rtol=1e-6)


def test_the_rule_has_websters_threshold() -> None:
    assert is_copy(np.array([0.0, NEAR, FAR, 1.0])).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("copied", "share"), [(0, 0.0), (1, 1 / 32), (16, 0.5), (32, 1.0)])
def test_strength_is_the_share_of_seeds_that_copy(copied: int, share: float) -> None:
    assert strength(np.array([NEAR] * copied + [FAR] * (32 - copied))) == share


def test_bins_end_where_they_say() -> None:
    found = binned(np.array([0.0, 1 / 32, 15 / 32, 0.5, 31 / 32, 1.0])).tolist()
    assert found == ["never", "rarely", "rarely", "often", "often", "always"]


def images(kind: str, row: int, index: int | None, count: int) -> list[dict[str, object]]:
    shared = {"row": row, "id": f"{kind}-{row}", "prompt": kind, "kind": kind, "count": count, "index": index}
    return [shared | {"seed": seed, "split": "heldout"} for seed in range(2)]


def test_a_caption_is_judged_by_what_it_owns_and_others_by_whatever_is_nearest() -> None:
    table = pa.Table.from_pylist(images("global", 0, 7, 4) + images("rare", 1, 9, 4) + images("half", 2, None, 0))
    found = np.array([[NEAR, FAR], [FAR, NEAR], [FAR, FAR], [FAR, 0.5], [NEAR, 0.5], [0.0, 0.5]])
    rows = strengths(table, found, OWNED).to_pylist()
    assert [row["strength"] for row in rows] == [0.5, 0.0, 1.0]
    assert [row["any"] for row in rows] == [1.0, 0.0, 1.0]
    assert [row["nearest"] for row in rows] == pytest.approx([COPY_RMSE, FAR, NEAR / 2])
    assert [row["seeds"] for row in rows] == [2, 2, 2]
    lines = list(strength_lines(pa.Table.from_pylist(rows)))
    assert lines[1].split() == ["global", "4", "1", "0.50", "0", "0", "1", "0"]
    assert lines[3].split() == ["half", "1", "1.00", "0", "0", "0", "1"]
