"""`--retry-errors` scans what failed and nothing else; what was good stays bit by bit, whatever stops it."""

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.bundle import open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.run.share import Share
from memscan.scanner.scanning import scanner
from memscan.scanner.settings import Execution
from tests.scanner.run.small_run import STEPS, command, contents, error_line, lines, set_aside, visible, write_manifest

REPOSITORY = Path(__file__).parents[3]

ROWS: list[dict[str, Any]] = [
    {"prompt": "a memorized poster", "seed": [1, 9], "image": "there.png"},
    {"prompt": "a city", "seed": [2, 3], "image": "late.png"},
    {"prompt": None, "seed": [4], "image": None},
    {"prompt": "a copied mug", "seed": [5], "image": None},
    {"prompt": "a red rug", "seed": [6], "image": "there.png"},
    {"prompt": "a blue forest", "seed": [8], "image": "late.png"},
    {"prompt": "a vase", "seed": [7], "image": "there.png"},
]
"""Three parts of three rows; two images come late, and one row stays an error for ever."""

RETRIED = {(1, 2), (1, 3), (5, 8)}
"""What fails before the late images are there, and not after."""


def draw(path: Path, shade: int = 0) -> None:
    Image.fromarray(np.full((32, 32, 3), shade, np.uint8) + np.arange(32, dtype=np.uint8)[:, None]).save(path)


@pytest.fixture
def arguments(analytic: Path, tmp_path: Path) -> list[str]:
    """The command of a run whose late images are not there yet; those that are there are."""
    draw(tmp_path / "there.png")
    return command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")


@pytest.fixture
def retry(arguments: list[str], tmp_path: Path) -> list[str]:
    """A run of these rows is done; then the late images come."""
    assert invoke(arguments) == 3
    draw(tmp_path / "late.png", 90)
    return [*arguments, "--retry-errors"]


@pytest.fixture(scope="module")
def at_once(analytic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run gives whose images are all there from the start, row by row."""
    folder = tmp_path_factory.mktemp("at-once")
    draw(folder / "there.png")
    draw(folder / "late.png", 90)
    manifest = write_manifest(folder / "m.parquet", ROWS)
    assert invoke([*command(manifest, analytic, folder / "out"), "--batch-size", "1"]) == 3
    return contents(folder / "out")


def by_key(found: dict[str, Any], kind: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of results or maps by their key."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, table in found.items():
        if name.startswith(f"{kind}/"):
            for values in zip(*table.values(), strict=True):
                row = dict(zip(table, values, strict=True))
                rows[tuple(row[key] for key in ("row", "seed", "step_index", *(["map"] * (kind == "maps"))))] = row
    return rows


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """All rows, maps and images are the same, whatever batches they were scanned in."""
    assert found.keys() == expected.keys()
    for kind in ("results", "maps"):
        rows, wanted = by_key(found, kind), by_key(expected, kind)
        assert rows.keys() == wanted.keys()
        assert sum(len(table["row"]) for name, table in found.items() if name.startswith(kind)) == len(rows)
        for key, row in rows.items():
            for name, value in row.items():
                other = wanted[key][name]
                if isinstance(value, float):
                    assert value == pytest.approx(other, abs=1e-5), (key, name)  # float32, in other batches
                elif name == "data":
                    here, there = (np.frombuffer(one, "<f2").astype(float) for one in (value, other))
                    np.testing.assert_allclose(here, there, rtol=0, atol=2e-3)  # a last bit of float16 near 1
                else:
                    assert value == other, (key, name)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The images that are scanned, by (row, seed)."""
    seen: list[tuple[int, int]] = []
    original = scanner.Scanner.scan

    def scan(self: Any, prepared: Any) -> Iterator[Any]:
        seen.extend((item.sample.row, item.sample.seed) for item in prepared)
        return original(self, prepared)

    monkeypatch.setattr(scanner.Scanner, "scan", scan)
    return seen


def test_images_that_came_late_are_scanned_and_nothing_else(
    retry: list[str], tmp_path: Path, at_once: dict[str, Any], scanned: list[tuple[int, int]]
) -> None:
    out = tmp_path / "out"
    before, untouched = contents(out), (out / "results" / "part-00002.parquet").stat().st_ino
    assert invoke(retry) == 3
    found = contents(out)
    assert set(scanned) == RETRIED
    assert_same(found, at_once)
    for kind in ("results", "maps"):
        old, new = by_key(before, kind), by_key(found, kind)
        for key, row in old.items():
            if row.get("status", "ok") == "ok":
                assert new[key] == row, key
    for name in before:
        if name.startswith("images/"):
            assert found[name] == before[name]
    assert (out / "results" / "part-00002.parquet").stat().st_ino == untouched
    assert set_aside(out) == set()


def test_a_second_retry_has_only_the_hopeless_left(
    retry: list[str], tmp_path: Path, scanned: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(retry) == 3
    before = contents(tmp_path / "out")
    scanned.clear()
    said = lines(retry, 3, capsys)
    assert said[0] == "memscan: 8 of 9 images are done already"
    assert said[1] == "memscan: done: 9 images: 8 ok, 1 with errors, 0 with truncated prompts; 2 sampled, 7 given"
    assert scanned == []
    assert contents(tmp_path / "out") == before


def test_exit_code_says_what_is_left(analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "there.png")
    rows = [ROWS[0], ROWS[1]]
    arguments = command(write_manifest(tmp_path / "m.parquet", rows), analytic, tmp_path / "out")
    assert invoke(arguments) == 3
    draw(tmp_path / "late.png")
    said = lines(arguments, 3, capsys)
    assert (
        "memscan: already complete: 4 images: 2 ok, 2 with errors, 0 with truncated prompts; 0 sampled, 4 given" in said
    )
    hint = "--retry-errors scans what failed anew, once its cause is mended, and nothing else"
    assert f"memscan: 2 images failed: {hint}" in said
    assert not any(hint in line for line in lines([*arguments, "--retry-errors"], 0, capsys))
    for extra in ([], ["--retry-errors"]):
        said = lines([*arguments, *extra], 0, capsys)
        assert said[0].startswith("memscan: already complete: 4 images: 4 ok, 0 with errors")


POINTS = {
    "an image is written, its name is not": ("pathlib.Path.replace", "images/00001/00000005-8.png", 1),
    "maps are written, not yet renamed": ("pathlib.Path.replace", "maps/part-00000.parquet", 1),
    "maps are committed, results are not": ("memscan.scanner.run.part.Part._commit", "", 1),
    "maps of a later part are committed, results are not": ("memscan.scanner.run.part.Part._commit", "", 2),
    "results are written, not yet renamed": ("pathlib.Path.replace", "results/part-00000.parquet", 1),
    "all parts are done, success is not marked": ("memscan.scanner.results.folder.OutputFolder.mark_complete", "", 1),
}
"""Function, word among its arguments, and which of such calls."""


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_old_or_the_new(
    point: str, retry: list[str], tmp_path: Path, at_once: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    before = by_key(contents(out), "results")
    program = [sys.executable, "-m", "tests.scanner.run.stopped_run", "SIGKILL", *map(str, POINTS[point])]
    stopped = subprocess.run([*program, *retry], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert not (out / "results" / "_SUCCESS").exists()
    now = by_key(visible(out), "results")
    assert now.keys() == before.keys()
    for row in (0, 4, 6):
        for key in before:
            if key[0] == row:
                assert now[key] == before[key]

    assert lines(retry[:-1], 3, capsys)[-1] == f"memscan: draw them: memscan show {out}"  # without --retry-errors
    agreed = contents(out)
    good = {key for key, row in by_key(agreed, "results").items() if row["status"] == "ok"}
    assert {key[:3] for key in by_key(agreed, "maps")} == good
    assert invoke(retry) == 3
    assert_same(contents(out), at_once)


def test_what_failed_at_one_step_keeps_its_others(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[tuple[int, int]]
) -> None:
    rows = [{"prompt": "a red rug", "seed": [6]}, {"prompt": "a vase", "seed": [7]}]
    arguments = command(write_manifest(tmp_path / "m.parquet", rows), analytic, tmp_path / "out")
    assert invoke(arguments) == 0
    whole = contents(tmp_path / "out")
    original = scanner.Meter.measure

    def failing(self: Any, state: Any, step: Any, *others: Any) -> Any:
        measured, guidance = original(self, state, step, *others)
        if step.level.timestep == 101:
            measured = dataclasses.replace(measured, errors=("not finite", *measured.errors[1:]))
        return measured, guidance

    arguments[arguments.index("--out") + 1] = str(tmp_path / "failed")
    with monkeypatch.context() as patched:
        patched.setattr(scanner.Meter, "measure", failing)
        assert invoke(arguments) == 3
    before = by_key(contents(tmp_path / "failed"), "results")
    assert [row["status"] for row in before.values()].count("error") == 1
    scanned.clear()
    assert invoke([*arguments, "--retry-errors"]) == 0
    assert scanned == [(0, 6)]
    after = contents(tmp_path / "failed")
    assert_same(after, whole)
    assert all(by_key(after, "results")[key] == row for key, row in before.items() if row["status"] == "ok")
    assert len(before) == 2 * len(STEPS)


@pytest.mark.parametrize("lost", ["maps/part-00000.parquet", "images/00000/00000000-9.png"])
def test_what_is_lost_is_made_again_in_the_same_go(
    lost: str, retry: list[str], tmp_path: Path, at_once: dict[str, Any]
) -> None:
    (tmp_path / "out" / lost).unlink()
    assert invoke(retry) == 3
    assert_same(contents(tmp_path / "out"), at_once)


@pytest.mark.parametrize("lost", ["maps/part-00000.parquet", "images/00000/00000000-9.png"])
def test_what_is_lost_is_made_again_without_touching_errors(lost: str, retry: list[str], tmp_path: Path) -> None:
    before = contents(tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    assert invoke(retry[:-1]) == 3
    assert_same(contents(tmp_path / "out"), before)


def test_lost_maps_of_a_picture_that_is_gone_too_are_said(
    retry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "maps" / "part-00000.parquet").unlink()
    (tmp_path / "there.png").unlink()
    line = error_line(retry, 2, capsys)
    assert line.startswith("the maps or the image of row 0 are lost, and it cannot be scanned again (")
    assert line.endswith("): restore what it was scanned from, or choose another --out")


def test_a_picture_that_is_gone_is_no_reason_to_refuse_what_was_made_of_it(
    retry: list[str], tmp_path: Path, at_once: dict[str, Any]
) -> None:
    (tmp_path / "there.png").unlink()
    assert invoke(retry) == 3
    assert_same(contents(tmp_path / "out"), at_once)


def test_another_picture_for_a_good_row_is_refused(
    retry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "there.png", 3)
    assert error_line(retry, 2, capsys) == (
        f"row 0 differs from the one that {tmp_path / 'out'} holds results of, its image is another one: "
        "restore the manifest, or choose another --out"
    )


@pytest.mark.parametrize("junk", [b"", b"no picture"])
def test_a_picture_that_could_not_be_decoded_may_be_mended(
    junk: bytes, arguments: list[str], tmp_path: Path, at_once: dict[str, Any]
) -> None:
    (tmp_path / "late.png").write_bytes(junk)
    assert invoke(arguments) == 3
    draw(tmp_path / "late.png", 90)
    assert invoke([*arguments, "--retry-errors"]) == 3
    assert_same(contents(tmp_path / "out"), at_once)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_shares_retry_what_is_theirs(
    order: tuple[int, int], retry: list[str], analytic: Path, tmp_path: Path, at_once: dict[str, Any]
) -> None:
    measurement, _ = build_measurement(open_bundle(analytic), Request(save_maps=True, save_images=True))
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    found = []
    for index in order:
        job = Job(
            manifest, open_bundle(analytic), measurement, Execution(2, 1), tmp_path / "out", 3, Share(index, 2),
            retry_errors=True,
        )  # fmt: skip
        found.append(run(job, note=lambda line: None).total.error)
    assert sorted(found) == [0, 1]
    assert_same(contents(tmp_path / "out"), at_once)


def test_a_share_that_is_done_leaves_alone_what_another_is_about_to_name(
    retry: list[str], analytic: Path, tmp_path: Path, at_once: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the maps and the results of one worker's part, the other one finds all parts there, and finishes."""
    from memscan.scanner.run import part

    measurement, _ = build_measurement(open_bundle(analytic), Request(save_maps=True, save_images=True))
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    jobs = [
        Job(
            manifest, open_bundle(analytic), measurement, Execution(2, 1), tmp_path / "out", 3, Share(index, 2),
            retry_errors=True,
        )
        for index in range(2)
    ]  # fmt: skip
    original, calls = part.Part._commit, []

    def commit(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            assert run(jobs[1], note=lambda line: None).complete
        original(*arguments)

    monkeypatch.setattr(part.Part, "_commit", commit)
    assert run(jobs[0], note=lambda line: None).complete
    assert_same(contents(tmp_path / "out"), at_once)
    assert set_aside(tmp_path / "out") == set()


def test_errors_of_before_do_not_count_as_too_many(retry: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert lines([*retry, "--max-errors", "1"], 3, capsys)[0] == "memscan: 5 of 9 images are done already"
    assert any(line.startswith("memscan: done: 9 images: 8 ok") for line in lines(retry, 3, capsys))


def test_rows_of_a_redone_part_are_in_order(retry: list[str], tmp_path: Path) -> None:
    assert invoke(retry) == 3
    table = pq.read_table(tmp_path / "out" / "results" / "part-00000.parquet")
    keys = list(zip(*(table[name].to_pylist() for name in ("row", "seed", "step_index")), strict=True))
    assert keys == sorted(keys)
    assert len(keys) == 5 * len(STEPS)
