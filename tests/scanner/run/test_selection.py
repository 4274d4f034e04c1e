"""--limit and --sample: which rows are scanned, that they keep their numbers, and that the run goes on."""

from pathlib import Path

import numpy as np
import pytest

from memscan.scanner.input.sampling import sample_rows
from tests.scanner.run.run_command import error, results, run, write


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("m.parquet", prompt=[f"a city and {number}" for number in range(30)], k=[*range(30)])


def scanned(*options: object, model: Path, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The rows of a run with these options, whose carried column says of each which row it was."""
    arguments = ("m.parquet", "--model", model, "--out", "out", "--threads", 1, "--step", 9, "--carry", "k")
    run(*arguments, "--part-rows", 4, *options, code=0, capsys=capsys)
    table = results("out")
    assert table["k"].to_pylist() == table["row"].to_pylist()
    return list(table["row"].to_pylist())


def test_a_sample_is_the_same_for_a_seed_on_every_machine() -> None:
    assert sample_rows(1000, 5, 7).tolist() == sample_rows(1000, 5, 7).tolist()
    assert sample_rows(1000, 5, 7).tolist() != sample_rows(1000, 5, 8).tolist()
    smallest = np.argsort(np.random.Philox(key=7).random_raw(1000))[:5]
    assert sample_rows(1000, 5, 7).tolist() == sorted(smallest.tolist())
    assert sample_rows(3, 5, 0).tolist() == [0, 1, 2]


def test_a_sample_over_several_chunks_is_that_over_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample_rows(1000, 40, 3)
    monkeypatch.setattr("memscan.scanner.input.sampling._CHUNK", 64)
    assert sample_rows(1000, 40, 3).tolist() == whole.tolist()


def test_every_row_is_as_likely() -> None:
    counts = np.bincount(np.concatenate([sample_rows(20, 5, seed) for seed in range(2000)]), minlength=20)
    assert abs(counts - 500).max() < 4 * np.sqrt(2000 * 0.25 * 0.75)  # four standard errors


def test_a_sample_keeps_the_numbers_of_its_rows_and_goes_on(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = sample_rows(30, 7, 5).tolist()
    options = ("--sample", 7, "--sample-seed", 5)
    assert scanned(*options, model=analytic, capsys=capsys) == expected
    Path("out/results/part-00001.parquet").unlink()
    assert scanned(*options, model=analytic, capsys=capsys) == expected


def test_another_sample_is_another_run(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scanned("--sample", 7, model=analytic, capsys=capsys)
    arguments = ("m.parquet", "--model", analytic, "--out", "out", "--threads", 1, "--step", 9, "--carry", "k")
    for options, now in ((("--sample", 7, "--sample-seed", 1), "7 of 30 rows by seed 1"), ((), "all")):
        said = f"its rows were 7 of 30 rows by seed 0 and are {now} now"
        assert said in error(*arguments, *options, capsys=capsys)


def test_a_changed_row_of_a_sample_is_named_by_its_own_number(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = scanned("--sample", 7, model=analytic, capsys=capsys)
    changed = [f"a city and {number}" for number in range(30)]
    changed[chosen[5]] = "another"
    write("m.parquet", prompt=changed, k=[*range(30)])
    arguments = ("m.parquet", "--model", analytic, "--out", "out", "--threads", 1, "--step", 9, "--carry", "k")
    arguments += ("--part-rows", 4)
    assert error(*arguments, "--sample", 7, capsys=capsys).startswith(f"row {chosen[5]} differs from the one")


def test_a_limit_takes_the_first_rows_and_a_larger_one_goes_on(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scanned("--limit", 6, model=analytic, capsys=capsys) == [*range(6)]
    before = Path("out/results/part-00000.parquet").stat().st_ino
    assert scanned("--limit", 9, model=analytic, capsys=capsys) == [*range(9)]
    assert scanned(model=analytic, capsys=capsys) == [*range(30)]
    assert Path("out/results/part-00000.parquet").stat().st_ino == before


def test_a_sample_of_the_first_rows(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = sample_rows(10, 4, 0).tolist()
    assert scanned("--limit", 10, "--sample", 4, model=analytic, capsys=capsys) == expected


def test_a_dry_run_says_fates_reasons_and_what_a_measured_batch_takes(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("m.parquet", prompt=["a city", None, "a mug", "a rug"])
    arguments = ("m.parquet", "--model", analytic, "--out", "out", "--threads", 1, "--step", 9)
    run(*arguments, "--limit", 2, code=3, capsys=capsys)
    _, lines = run(*arguments, "--dry-run", "--measure", code=0, capsys=capsys)
    assert "memscan: cannot be scanned: row 1: the prompt is null" in lines
    assert any("done already: 2 images, 1 ok and 1 with errors; 2 are left" in line for line in lines)
    assert any(line.startswith("memscan: measured on ") and " of memory, " in line for line in lines)
    assert any(line.startswith("memscan: estimated for 2 images: ") for line in lines)
    assert results("out").num_rows == 2  # nothing was written


def test_options_that_need_another_are_refused(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, said in (
        (("--sample-seed", 1), "--sample-seed is of a --sample"),
        (("--measure",), "is of a --dry-run"),
    ):
        capsys.readouterr()
        _, lines = run("m.parquet", "--model", analytic, *option, code=2, capsys=capsys)
        assert said in lines[-1]
