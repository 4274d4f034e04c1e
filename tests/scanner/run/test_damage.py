"""What is torn or lost is done again, what is good is kept, and what is of others is left alone."""

import errno
import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.bundle import open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.store import LocalStore
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.scanning import scanner, sources
from memscan.scanner.settings import Execution
from tests.scanner.run.small_run import (
    ROWS,
    command,
    contents,
    error_line,
    lines,
    set_aside,
    temporary,
    write_manifest,
)


def test_damaged_part_is_done_again(
    finished_run: Path, arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = out / "results" / "part-00001.parquet"
    whole = part.read_bytes()
    # A bit within the first pages: their checksums find it.
    for damaged in (b"", whole[:4], whole[: len(whole) // 2], whole[:-1], flipped(whole, 200)):
        part.write_bytes(damaged)
        before = set_aside(out)
        said, done, *_ = lines(arguments, 3, capsys)
        (aside,) = set_aside(out) - before
        assert said == (
            f"memscan: {part} is damaged: it is kept as {aside.relative_to(out)}, and its rows are scanned again"
        )
        assert done == "memscan: 5 of 8 images are done already"
        assert aside.read_bytes() == damaged
        assert contents(out) == contents(finished_run)


LOSSES = {
    "maps are missing": ("maps/part-00001.parquet", None, "lacks maps"),
    "maps are torn": ("maps/part-00001.parquet", lambda whole: whole[:-9], "lacks maps"),
    "a bit of the maps flipped": ("maps/part-00001.parquet", lambda whole: flipped(whole, 2000), "lacks maps"),
    "an image is missing": ("images/00001/00000003-5.png", None, "lacks 1 images"),
    "a bit of an image flipped": (
        "images/00001/00000003-5.png", lambda whole: flipped(whole, len(whole) // 2), "lacks 1 images"
    ),
}  # fmt: skip
"""A file of a finished part, what becomes of it, and what is said."""


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("loss", LOSSES)
def test_only_what_a_finished_part_lacks_is_done_again(
    loss: str, finished_run: Path, arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, damage, said = LOSSES[loss]
    others = {file: file.stat().st_ino for file in out.rglob("*.p*") if file != out / name}
    whole = (out / name).read_bytes()
    if damage is None:
        (out / name).unlink()
    else:
        (out / name).write_bytes(damage(whole))
    if "flipped" in loss:  # a file of the right size is believed, unless it is to be read whole
        arguments = [*arguments, "--verify-outputs"]
    assert f"memscan: part 1 {said}: its rows are scanned again, its results stay" in lines(arguments, 3, capsys)
    assert contents(out) == contents(finished_run)
    assert {file: file.stat().st_ino for file in others} == others
    assert [file.read_bytes() for file in set_aside(out)] == ([] if damage is None else [damage(whole)])


def test_images_folder_that_is_gone_is_made_again(finished_run: Path, arguments: list[str], out: Path) -> None:
    shutil.rmtree(out / "images")
    assert invoke(arguments) == 3
    assert contents(out) == contents(finished_run)


def test_image_that_comes_out_otherwise_is_recorded_and_the_results_stay(
    arguments: list[str], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another engine may round a pixel otherwise: the next run must not take that for damage."""
    part, image = out / "results" / "part-00001.parquet", out / "images" / "00001" / "00000003-5.png"
    before, pixels = pq.read_table(part), Image.open(image).copy()
    image.unlink()
    monkeypatch.setattr(sources, "to_pixels", lambda latents: 255 - np.asarray(pixels))
    assert invoke(arguments) == 3
    assert pq.read_table(part).equals(before)
    inode = part.stat().st_ino
    assert invoke(arguments) == 3
    assert part.stat().st_ino == inode
    np.testing.assert_array_equal(np.asarray(Image.open(image)), 255 - np.asarray(pixels))


def test_what_no_result_names_is_set_aside_before_success(
    finished_run: Path, arguments: list[str], out: Path, tmp_path: Path
) -> None:
    """Killed between the maps and the results of the last part; then that part's row is cut from the manifest."""
    (out / "results" / "part-00002.parquet").unlink()
    (out / "results" / "_SUCCESS").unlink()
    (out / "images" / "00001" / "mine.txt").write_text("of somebody")
    write_manifest(tmp_path / "m.parquet", ROWS[:6])
    assert invoke(arguments) == 3
    assert contents(out).keys() == {
        name for name in contents(finished_run) if "part-00002" not in name and "images/00002" not in name
    }
    assert {file.name.rpartition("-")[0] for file in set_aside(out)} == {"part-00002.parquet", "00000006-8.png"}
    assert (out / "images" / "00001" / "mine.txt").read_text() == "of somebody"


@pytest.mark.parametrize("kind", ["results", "maps"])
@pytest.mark.parametrize("number", [1, 7])
def test_healthy_foreign_file_of_a_parts_name_is_left_alone(
    kind: str, number: int, arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = out / kind / f"part-{number:05d}.parquet"
    pq.write_table(pa.table({"precious": [1, 2, 3]}), part)
    assert error_line(arguments, 2, capsys) == f"{part} was not written by a run: move it away"
    assert pq.read_table(part)["precious"].to_pylist() == [1, 2, 3]


def test_unreadable_file_in_a_folder_without_a_record_is_left_alone(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "new" / "results" / "part-00000.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"precious")
    arguments = command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "new")
    line = error_line(arguments, 2, capsys)
    assert line.startswith(f"{part} cannot be read (")
    assert line.endswith("), and nothing says that it is of this run: move it away")
    assert part.read_bytes() == b"precious"


class FailingFile(io.FileIO):
    """A file of which nothing can be read."""

    error: BaseException

    def read(self, size: int | None = -1) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    "name", ["results/part-00001.parquet", "maps/part-00001.parquet", "images/00001/00000003-5.png"]
)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error: mend the disk or device"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory: use a smaller"),
        (MemoryError(), "out of memory: "),
    ],
    ids=["EIO", "ENOMEM", "MemoryError"],
)
def test_part_that_cannot_be_read_for_another_reason_stops_the_run_untouched(
    name: str,
    error: BaseException,
    said: str,
    finished_run: Path,
    arguments: list[str],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = LocalStore.open

    def failing(store: LocalStore, asked: str) -> Any:
        if asked != name:
            return original(store, asked)
        file = FailingFile(store.path / asked)
        file.error = error
        return file

    monkeypatch.setattr(LocalStore, "open", failing)
    assert error_line([*arguments, "--verify-outputs"], 1, capsys).startswith(said)
    monkeypatch.undo()
    assert set_aside(out) == set()
    assert contents(out) == contents(finished_run)


@pytest.mark.parametrize("name", ["night:1", "s3:", os.fsdecode(b"caf\xe9")], ids=["colon", "scheme", "not UTF-8"])
def test_folder_of_any_name_is_written_resumed_and_read(name: str, tmp_path: Path, analytic: Path) -> None:
    bundle, manifest = open_bundle(analytic), open_manifest(str(write_manifest(tmp_path / "m.parquet", ROWS[:2])))
    measurement, _ = build_measurement(bundle, Request(save_maps=True, save_images=True))
    job = Job(manifest, bundle, measurement, Execution(threads=1), tmp_path / name, 1)
    assert run(job, note=pytest.fail).found == 0
    (tmp_path / name / "results" / "part-00001.parquet").unlink()
    assert run(job, note=lambda line: None).found == 1
    assert run(job, note=pytest.fail).was_complete
    results = open_results(tmp_path / name)
    assert results.rows(["row", "seed", "step_index"]).num_rows == 9
    assert results.maps("dh_uncond", 9, [(1, 3)]).shape == (1, 8, 8)
    assert results.image_file((1, 3)) == (tmp_path / name / "images" / "00001" / "00000001-3.png").read_bytes()


def test_mark_of_success_is_taken_back_before_a_lost_part_is_done_again(
    arguments: list[str], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "results" / "part-00001.parquet").unlink()
    seen: list[bool] = []
    original = scanner.Scanner.scan

    def scan(*arguments: Any) -> Any:
        seen.append((out / "results" / "_SUCCESS").exists())
        return original(*arguments)

    monkeypatch.setattr(scanner.Scanner, "scan", scan)
    assert invoke(arguments) == 3
    assert set(seen) == {False}


def test_mark_that_is_not_empty_is_kept(arguments: list[str], out: Path) -> None:
    (out / "results" / "_SUCCESS").write_text("precious")
    (out / "results" / "part-00001.parquet").unlink()
    assert invoke(arguments) == 3
    assert [file.read_text() for file in set_aside(out)] == ["precious"]


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_the_dead_left_half_written_is_cleared(arguments: list[str], out: Path) -> None:
    """What is younger than the run, of a living process, of another machine or not of memscan stays."""
    folder, host, dead = out / "_memscan" / "tmp" / "0-of-1", socket.gethostname(), dead_process()
    orphan = folder / f"{host}.{dead}.0123456789abcdef.part-00000.parquet"
    alive = folder / f"{host}.{os.getppid()}.0123456789abcdef.part-00000.parquet"
    elsewhere = folder / f"elsewhere.{dead}.0123456789abcdef.part-00000.parquet"
    strange = folder / "part-00000.parquet"
    young = folder / f"{host}.{dead}.fedcba9876543210.part-00000.parquet"
    for file in (orphan, alive, elsewhere, strange, young):
        file.write_bytes(b"half a file")
        os.utime(file, (0, 0))
    os.utime(young, (2**33, 2**33))
    assert invoke(arguments) == 3
    assert sorted(temporary(out)) == sorted([alive, elsewhere, strange, young])
