"""memscan from Python: what `scan` gives, that it agrees with the command line, and that importing it is cheap."""

import logging
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import memscan.scanner
from memscan.scanner import open_bundle, open_results, scan
from memscan.scanner.cli import invoke
from memscan.scanner.errors import ManifestError, UsageError
from memscan.scanner.input.columns import Columns
from memscan.scanner.results.reader import Results
from tests.default_maps import MAPS

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS: dict[str, Any] = {"num_inference_steps": 10, "steps": [7, 9], "threads": 1, "provider": "cpu"}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def results(analytic: Path) -> Results:
    return scan(["a memorized poster", "a city"], model=analytic, seeds=[3, 5], **SETTINGS)


def write(name: str, **columns: Any) -> str:
    pq.write_table(pa.table(columns), name)
    return name


def test_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    write("prompts.parquet", prompt=["a mug on a cloth"], number=[7], kind=["none"])
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.S)
    assert len(blocks) == 8
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert capsys.readouterr().out.splitlines()[:2] == ["0 of 1", "1 of 1"]
    assert names["tagged"].table["kind"].to_pylist() == ["none"]
    assert names["tagged"].table["seed"].to_pylist() == [7]
    assert len(names["few"].table) == 1


def test_every_image_and_step_is_a_row(results: Results) -> None:
    keys = zip(*(results.table[name].to_pylist() for name in ("row", "seed", "step_index")), strict=True)
    assert list(keys) == [(row, seed, step) for row in (0, 1) for seed in (3, 5) for step in (7, 9)]
    assert results.table["status"].unique().to_pylist() == ["ok"]
    assert results.to_pandas()["prompt"].nunique() == 2


def test_maps_masks_and_images_are_those_of_the_rows(results: Results) -> None:
    table = results.table.to_pylist()
    for row in table:
        key = row["row"], row["seed"], row["step_index"]
        for name in MAPS:
            found = results.map(name, *key)
            assert found.dtype == np.float16
            assert found.astype(np.float64).mean() == pytest.approx(row[f"{name}_mean"], abs=1e-3)  # float16
        mask = results.mask(*key)
        assert mask is not None
        assert mask.mean() == pytest.approx(row["mask_share"])
    picture = results.image(0, 3)
    assert picture is not None
    assert picture.dtype == np.uint8
    assert not np.array_equal(picture, results.image(0, 5))


def test_what_may_be_left_out_is_what_there_is_only_one_of(results: Results, analytic: Path) -> None:
    single = scan(["a city"], model=analytic, num_inference_steps=10, steps=[9])
    np.testing.assert_array_equal(single.map("dh_uncond", 0), single.map("dh_uncond", 0, 0, 9))
    assert single.mask(0) is not None
    for missing, said in [
        ((0,), "several results of row 0: choose one of the seeds 3, 5"),
        ((0, 3), "several results of row 0, seed 3: choose one of the steps 7, 9"),
        ((0, 4), "no result of row 0, seed 4"),
        ((2,), "no result of row 2"),
        ((0, 3, 8), "no result of row 0, seed 3, step 8"),
    ]:
        with pytest.raises(UsageError, match=said):
            results.map("dh_uncond", *missing)


def test_maps_and_images_that_were_not_kept_are_not_there(analytic: Path) -> None:
    bare = scan(["a city"], model=analytic, maps=False, images=False, **SETTINGS)
    assert bare.image(0) is None
    with pytest.raises(UsageError, match="lacks dh_uncond at step 9"):
        bare.map("dh_uncond", 0, step=9)


def test_results_without_a_folder_vanish_with_the_object(analytic: Path) -> None:
    found = scan(["a city"], model=analytic, **SETTINGS)
    folder = found.path
    assert folder.is_dir()
    assert list(Path().iterdir()) == []
    del found
    assert not folder.exists()


def test_scan_and_command_line_give_the_same_rows(analytic: Path) -> None:
    manifest = write("m.parquet", prompt=["a memorized rug", None, "a mug"], seed=[[1, 2], [0], [4]], kind=[1, 2, 3])
    found = scan(manifest, model=analytic, out="python", columns=Columns(carry=("kind",)), **SETTINGS)
    options = ["--num-inference-steps", "10", "--step", "7", "--step", "9", "--threads", "1", "--provider", "cpu"]
    command = ["run", manifest, "--model", str(analytic), "--out", "shell", "--carry", "kind", "--maps", "--images"]
    assert invoke([*command, *options]) == 3
    other = open_results("shell")
    apart = ["error", "scanned_at"]
    assert found.table.drop(apart).equals(other.table.drop(apart))
    assert found.table["status"].to_pylist().count("error") == 2
    np.testing.assert_array_equal(found.image(2), other.image(2))


def test_scan_goes_on_where_it_was_stopped(analytic: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, images: int) -> None:
        seen.append((done, images))
        if done == 2:
            raise Stop

    seen: list[tuple[int, int]] = []
    manifest = write("m.parquet", prompt=["a mug"] * 600)
    with pytest.raises(Stop):
        scan(manifest, model=analytic, out="out", maps=False, images=False, batch_size=2, progress=stop, **SETTINGS)
    assert seen == [(0, 600), (1, 600), (2, 600)]  # a batch of two, while it is scanned and when it is done
    done = scan(manifest, model=analytic, out="out", maps=False, images=False, **SETTINGS)
    assert len(done.table) == 1200


def test_opened_bundle_is_scanned_as_its_folder_is(analytic: Path, results: Results) -> None:
    again = scan(["a memorized poster", "a city"], model=open_bundle(analytic), seeds=[3, 5], **SETTINGS)
    assert again.table.drop(["scanned_at"]).equals(results.table.drop(["scanned_at"]))


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "no prompts to scan"),
        ("nowhere.parquet", {}, r"nowhere\.parquet"),
        ("m.parquet", {"seeds": [1]}, "seeds are for a list of prompts"),
        (["a mug"], {"columns": Columns(carry=("kind",))}, "columns are for a manifest"),
        (["a mug"], {"out": "ftp://bucket/out"}, "ftp://bucket/out is a URL"),
        (["a mug"], {"out": Path("ftp://bucket/out")}, "is a URL"),
        (["a mug"], {"steps": [10]}, "--step 10"),
        (["a mug"], {"mask_map": "nothing"}, "--mask-map nothing"),
    ],
)
def test_wrong_use_is_an_error_of_its_own_and_leaves_nothing(
    prompts: Any, options: dict[str, Any], message: str, analytic: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        scan(prompts, model=analytic, **(SETTINGS | options))
    assert list(Path().iterdir()) == []


def test_manifest_that_cannot_be_read_is_a_manifest_error(analytic: Path) -> None:
    Path("m.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ManifestError, match=r"m\.parquet"):
        scan("m.parquet", model=analytic)


def test_library_prints_nothing_and_notes_go_to_the_logger(
    analytic: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "memscan"):
        scan(write("m.parquet", prompt=["a mug"], unused=[1]), model=analytic, **SETTINGS)
    assert capfd.readouterr() == ("", "")
    assert any("columns not used: unused" in message for message in caplog.messages)


def test_import_loads_no_runtime_and_little_else() -> None:
    code = """
import sys
from memscan.scanner import __version__
assert not {"numpy", "pyarrow", "onnxruntime", "click"} & set(sys.modules)
from memscan.scanner import open_bundle, open_results, scan
assert not {"onnxruntime", "torch", "click"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_versions_agree() -> None:
    for command in (
        ["-m", "memscan.scanner", "--version"],
        ["-c", "from memscan.scanner.cli import main; main()", "--version"],
    ):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        assert done.stdout == f"memscan {memscan.scanner.__version__}\n"
    assert memscan.scanner.__version__ == version("memscan")


def test_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'scanned'"):
        memscan.scanner.scanned  # noqa: B018


def test_rows_are_chosen_as_on_the_command_line(analytic: Path) -> None:
    manifest = write("m.parquet", prompt=[f"a city {word}" for word in "abcdefghij"])
    few = scan(manifest, model=analytic, limit=3, **SETTINGS)
    assert few.table["row"].unique().to_pylist() == [0, 1, 2]
    chosen = scan(manifest, model=analytic, limit=8, sample=3, sample_seed=5, out="here", **SETTINGS)
    options = [
        "--limit",
        "8",
        "--sample",
        "3",
        "--sample-seed",
        "5",
        "--num-inference-steps",
        "10",
        "--step",
        "7",
        "--step",
        "9",
    ]
    assert invoke(["run", manifest, "--model", str(analytic), *options, "--threads", "1", "--out", "there"]) == 0
    rows = [one.table["row"].to_pylist() for one in (chosen, open_results("there"))]
    assert rows[0] == rows[1] == sorted(rows[0])
    assert len({*rows[0]}) == 3 and max(rows[0]) < 8
    assert scan(["a mug", "a city"], model=analytic, limit=1, **SETTINGS).table["row"].unique().to_pylist() == [0]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"limit": 0}, "limit is 0: give 1 or more"),
        ({"sample": -1}, "sample is -1: give 1 or more"),
        ({"sample": 1, "sample_seed": -1}, "sample_seed is -1: give 0 or more"),
        ({"sample_seed": 1}, "sample_seed is of a sample: say how many rows"),
    ],
)
def test_choices_that_are_none_are_refused(choice: dict[str, int], message: str, analytic: Path) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        scan(["a mug"], model=analytic, **choice)
