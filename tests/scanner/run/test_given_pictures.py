"""Pictures that rows bring, as users of `memscan run` meet them: what their rows say, and how they are counted."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.cli import invoke

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(*images: bytes | None) -> None:
    table = {"prompt": ["a memorized mug"] * len(images), "image": pa.array(images, pa.binary())}
    pq.write_table(pa.table(table), "m.parquet")


def run(*arguments: object, code: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of stderr."""
    capsys.readouterr()
    assert invoke(["run", "m.parquet", "--step", "9", *map(str, arguments)]) == code
    return capsys.readouterr().err.splitlines()


def column(name: str, out: str = "m.memscan") -> list[object]:
    return pq.read_table(Path(out) / "results")[name].to_pylist()


def test_rows_say_where_their_image_came_from_and_the_last_lines_count(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(png(RAMP), None, png(RAMP[:, :40].copy()), png(RAMP[:32, :32].copy()), b"junk")
    lines = run("--model", analytic, "--part-rows", 2, code=3, capsys=capsys)
    fate = "5 images: 4 ok, 1 with errors, 0 with truncated prompts; 1 sampled, 4 given"
    assert f"memscan: done: {fate}" in lines
    assert column("image_source") == [
        "given, resized from 64x64",
        "sampled",
        "given, cropped from 40x64",
        "given",
        "given",
    ]
    assert [error is None for error in column("error")] == [True] * 4 + [False]
    lines = run("--model", analytic, "--part-rows", 2, code=3, capsys=capsys)
    assert f"memscan: already complete: {fate}" in lines


def test_resumed_parts_are_counted_with_the_others(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(png(RAMP), None, None)
    run("--model", analytic, "--part-rows", 1, code=0, capsys=capsys)
    Path("m.memscan/results/part-00000.parquet").unlink()
    lines = run("--model", analytic, "--part-rows", 1, code=0, capsys=capsys)
    assert "memscan: done: 3 images: 3 ok, 0 with errors, 0 with truncated prompts; 2 sampled, 1 given" in lines


def test_origins_are_not_counted_where_all_are_sampled(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(None)
    lines = run("--model", analytic, code=0, capsys=capsys)
    assert "memscan: done: 1 images: 1 ok, 0 with errors, 0 with truncated prompts" in lines
    assert column("image_source") == ["sampled"]


def test_of_a_line_that_is_garbled_nobody_knows(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.jsonl").write_text('{"prompt": "a mug"}\n{"prompt": \n')
    assert invoke(["run", "m.jsonl", "--model", str(analytic), "--step", "9"]) == 3
    assert column("image_source", "m.jsonl.memscan") == ["sampled", None]


def test_a_16_bit_picture_scores_as_its_8_bit_twin(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(png(RAMP.astype(np.uint16) * 257), png(RAMP), png(np.zeros_like(RAMP)), png(np.full_like(RAMP, 255)))
    run("--model", analytic, code=0, capsys=capsys)
    wide, narrow, black, white = column("ds_uncond_mean")
    assert wide == narrow  # their pixels are the same
    assert wide not in (black, white)


def test_fit_is_a_choice_that_belongs_to_the_run(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(png(RAMP[10:50].copy()))
    scores = []
    for rule, done in (("crop", "cropped"), ("stretch", "stretched"), ("pad", "padded")):
        run("--model", analytic, "--fit", rule, "--out", rule, code=0, capsys=capsys)
        assert column("image_source", rule) == [f"given, {done} from 64x40"]
        scores += column("ds_uncond_mean", rule)
    assert len(set(scores)) == 3
    lines = run("--model", analytic, "--out", "stretch", code=2, capsys=capsys)
    assert 'fit was "stretch" and is "crop" now' in lines[-1]
