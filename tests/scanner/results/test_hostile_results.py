"""Results and records that anyone may have written: each value that no run writes is one line, never a traceback."""

import copy
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import ResumeRefused, UsageError
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.part_file import PartRecord
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.run_record import RunRecord, held_record
from memscan.scanner.results.store import LocalStore
from tests.scanner.results.fabricated import scanned, write_ground_truth, write_results

HOSTILE = (
    *(None, True, "", "x", "\x1b[2J", "../../etc/passwd", 0, -1, 2.5, 1e300, 10**30, [], {}, [[]], {"a": [1]}),
    *(float("nan"), float("inf"), "9" * 10_000, [0] * 1000, [{"map": "h_cond", "timestep": 1, "threshold": "x"}]),
)
RECORD = RunRecord({"bundle": "0" * 64, "carry": []}, "f" * 64, {"step.onnx": "1" * 64}, True, 100, 400, 2, "1.0")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    maps = {"dh_uncond": np.eye(8, dtype=np.float32)}
    return write_results(tmp_path / "out", [scanned(row, f"p{row}", maps) for row in range(2)], images={(0, 0): b"png"})


def rewrite(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(file)), file, write_page_checksum=True)


def with_metadata(name: str, value: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({**table.schema.metadata, f"memscan.{name}".encode(): value})


def with_column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        array = values if isinstance(values, pa.Array) else pa.array(values, table.schema.field(name).type)
        return table.set_column(table.column_names.index(name), name, array)

    return change


@pytest.mark.parametrize("name", ["latent_channels", "run", "thresholds", "images"])
def test_every_entry_of_the_metadata_can_be_anything(name: str, results: Path) -> None:
    """Those who read what the entry says get one line; an entry that is still right reads as it is."""
    part = results / "results" / "part-00000.parquet"
    for value in (*map(json.dumps, HOSTILE), "{", "\xff", '{"settings": NaN}', '{"settings": {"mask_map": 3}}'):
        rewrite(part, with_metadata(name, value.encode("latin-1")))
        try:
            open_results(results).image_file((0, 0))
        except UsageError as error:
            assert "\n" not in str(error) and len(str(error)) < 400, value
        else:
            assert (name, value) in {("thresholds", "[]"), ("images", "{}")}, value


def test_names_of_images_do_not_lead_out_of_the_folder() -> None:
    for name in ("../../../secret", "/etc/passwd", "00000000-0.png/../x", "0-0.png"):
        with pytest.raises(ValueError, match="the list of images has"):
            PartRecord.images_of({b"memscan.images": json.dumps({name: "0" * 32}).encode()})


STRINGS = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes()), pa.py_buffer(b"p\xff"))


@pytest.mark.parametrize(
    ("folder", "name", "values", "message"),
    [
        ("results", "mask", [b"0", b"0"], "mask is not a COCO RLE of 8 x 8 pixels"),
        (
            "results",
            "mask_height",
            [10**5] * 2,
            "mask is not a COCO RLE of 100000 x 8 pixels",
        ),
        ("results", "mask_width", [2**31 - 1] * 2, "a mask of 8 x 2147483647 pixels is too large"),
        ("results", "mask_height", [-8, -8], "a mask of -8 x 8 pixels"),
        ("results", "mask_height", [None, None], "damaged"),
        ("results", "mask_height", pa.array(["8", "8"]), "its column mask_height is string, not int32"),
        ("results", "dh_uncond_mean", [float("nan"), 1.0], "its column dh_uncond_mean has values that are not finite"),
        ("results", "sigma", [None, 0.25], "its column sigma is null where there is always a value"),
        ("results", "seed", [None, 0], "its column seed is null where there is always a value"),
        ("results", "prompt", STRINGS, "damaged .*[Ii]nvalid UTF8"),
        ("maps", "height", [10**5] * 2, "a map has 128 bytes for 100000 x 8 pixels"),
        ("maps", "height", [-8, -8], "a map has 128 bytes for -8 x 8 pixels"),
        ("maps", "data", [b"", b""], "a map has 0 bytes for 8 x 8 pixels"),
        ("maps", "data", [b"\xff" * 128] * 2, "dh_uncond at step 49 has values that are not finite"),
    ],
)
def test_values_that_no_run_writes_stop_their_readers_in_one_line(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, name: str, values: Any, message: str
) -> None:
    rewrite(results / folder / "part-00000.parquet", with_column(name, values))
    rows = [{"prompt": f"p{row}", "kind": "global", "mask": None} for row in range(2)]
    truth = write_ground_truth(tmp_path / "truth.parquet", rows)
    assert invoke(["eval", str(results), "--ground-truth", str(truth)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memscan: error: ")
    assert re.search(message, line)


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, one in value.items():
        yield (*path, key)
        if isinstance(one, dict):
            yield from places(one, (*path, key))


def test_every_value_of_the_record_of_a_run_can_be_anything(tmp_path: Path) -> None:
    """What is read is the very record; all else is refused in one line, or lost and read from the results instead."""
    draw, good, refused = random.Random(0), json.loads(RECORD.to_json()), 0
    for path in places(good):
        for value in draw.sample(HOSTILE, 8):
            record = copy.deepcopy(good)
            inner = record
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = value
            place = tmp_path / "out" / "_memscan"
            place.mkdir(parents=True)
            (place / "run.json").write_text(json.dumps(record))
            try:
                held = held_record(OutputFolder(LocalStore(tmp_path / "out")), RECORD)
            except ResumeRefused as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 600, path
            else:
                lost = isinstance(value, float) and value - value != 0
                free = path[0] in ("fingerprint", "verified", "version", "part_rows", "part_images")
                assert held is None if lost else free and held is not None, (path, value)
            shutil.rmtree(tmp_path / "out")
    assert refused > 50
