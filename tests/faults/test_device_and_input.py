"""A device that is lost, and row groups of the manifest that cannot be read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.model.graphs import Graphs
from tests.faults.scan import arguments, assert_whole
from tests.scanner.run.small_run import error_line, visible


def test_a_lost_device_ends_the_run_and_makes_no_rows_of_what_is_left(
    model: Path,
    tmp_path: Path,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CUDA's errors are sticky: whatever is tried after the first fails too, and none of it says anything of a row."""
    original, calls = Graphs.measure, 0

    def measure(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise EnvironmentFailed("measure.onnx failed: CUDA error 700, an illegal memory access was encountered")
        return original(*given, **named)

    monkeypatch.setattr(Graphs, "measure", measure)
    asked = arguments(tmp_path, model)
    assert error_line(asked, 1, capsys).startswith("measure.onnx failed: CUDA error 700")
    assert calls == 31  # it was not tried again
    for name, content in visible(tmp_path / "out").items():
        assert repr(content) == repr(expected[name]), name
    monkeypatch.undo()
    assert invoke(asked) == 3
    assert_whole(tmp_path / "out", expected)


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """Five row groups of four rows, of which a bit in the third one's prompts has flipped."""
    file = tmp_path / "flawed.parquet"
    table = pa.table({"prompt": [f"a city and word{number}" for number in range(20)], "k": [*range(20)]})
    pq.write_table(table, file, row_group_size=4, write_page_checksum=True, compression="none", use_dictionary=False)
    content = file.read_bytes()
    place = content.index(b"word8")  # neither least nor greatest, which page headers repeat
    file.write_bytes(content[:place] + b"wore8" + content[place + 5 :])
    return file


def test_a_row_group_that_cannot_be_read_stops_the_run_before_anything_is_written(
    flawed: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", str(flawed), "--model", str(model), "--out", str(tmp_path / "out"), "--threads", "1"]
    assert "row group 2 cannot be read" in error_line(asked, 2, capsys)
    assert not (tmp_path / "out" / "results" / "_SUCCESS").exists()


@pytest.mark.parametrize("part_rows", ["3", "256"])
def test_in_quarantine_all_rows_of_the_group_are_rows_with_errors_and_the_others_are_scanned(
    part_rows: str, flawed: Path, model: Path, tmp_path: Path
) -> None:
    asked = ["run", str(flawed), "--model", str(model), "--out", str(tmp_path / "out"), "--threads", "1"]
    asked += ["--on-bad-input", "quarantine", "--part-rows", part_rows, "--carry", "k", "--step", "9"]
    assert invoke(asked) == 3
    rows = pq.read_table(tmp_path / "out" / "results").to_pylist()
    assert [row["row"] for row in rows] == [*range(20)]
    for row in rows:
        bad = 8 <= row["row"] < 12
        assert row["status"] == ("error" if bad else "ok")
        assert row["k"] == (None if bad else row["row"])
        assert ("row group 2 cannot be read" in row["error"]) if bad else row["error"] is None
    (tmp_path / "out" / "results" / "part-00000.parquet").unlink()
    assert invoke(asked) == 3
    assert pq.read_table(tmp_path / "out" / "results").num_rows == 20
