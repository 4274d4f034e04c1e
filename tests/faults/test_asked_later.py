"""Maps and images that are asked for later are added, and the results stay bit by bit."""

from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.cli import invoke
from tests.faults.scan import arguments, assert_whole


@pytest.mark.parametrize("first", [[], ["--maps"], ["--images"]], ids=["none", "maps", "images"])
@pytest.mark.parametrize("lost", [None, "results/part-00001.parquet", "_memscan/run.json"])
def test_what_is_asked_for_later_is_added(
    first: list[str], lost: str | None, model: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    asked = arguments(tmp_path, model)
    without = [one for one in asked if one not in ("--maps", "--images")]
    assert invoke([*without, *first]) == 3
    if lost is not None:
        (tmp_path / "out" / lost).unlink()
    assert invoke(asked) == 3
    assert_whole(tmp_path / "out", expected)
    before = {file: file.stat().st_ino for file in (tmp_path / "out").rglob("*.p*") if "_memscan" not in file.parts}
    assert invoke(without) == 3  # what the run keeps, it goes on to keep
    assert {file: file.stat().st_ino for file in before} == before


def test_a_run_that_keeps_maps_keeps_them_also_where_they_are_not_asked_for_again(
    model: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    asked = arguments(tmp_path, model)
    assert invoke(asked) == 3
    for name in ("results/part-00001.parquet", "maps/part-00001.parquet"):
        (tmp_path / "out" / name).unlink()
    assert invoke([one for one in asked if one not in ("--maps", "--images")]) == 3
    assert_whole(tmp_path / "out", expected)
