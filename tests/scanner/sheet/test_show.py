"""`memscan show`: which images are drawn, what their panels hold, and what is said of that which cannot be drawn."""

import dataclasses
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import MeasuredStep, Rejected
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.columns import columns, score_explanation
from memscan.scanner.sheet.draw import draw_sheet
from memscan.scanner.sheet.entries import Selection, select
from memscan.scanner.sheet.panels import OUTLINE, SIDE, overlay, photo
from tests.scanner.results.fabricated import STEP, scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)
UNCALIBRATED_STEP = MeasuredStep(49, 1, 0.25, None, False)
RED = Image.new("RGB", (64, 64), (200, 30, 30))


def level(value: float) -> dict[str, NDArray[np.float32]]:
    return {"dh_uncond": np.full((16, 16), value, np.float32)}


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def chosen(selection: Selection) -> list[tuple[str, int]]:
    return [(entry.prompt, entry.seed) for entry in selection.entries]


def test_highest_scores_come_first_and_errors_never(tmp_path: Path) -> None:
    items = [scanned(row, f"prompt {row}", level(value)) for row, value in enumerate((0.1, 0.9, 0.5))]
    results = open_results(write_results(tmp_path / "out", [*items, Rejected(3, 0, None, "prompt is null")]))
    assert chosen(select(results, None, None, 2)) == [("prompt 1", 0), ("prompt 2", 0)]
    assert select(results, None, None, 9).total == 3


def test_with_ground_truth_kinds_and_captions_take_turns(tmp_path: Path) -> None:
    """Rows 0-3 are one caption; the limit still shows every kind, and both local captions before a second seed."""
    prompts = ["copy"] * 4 + ["mug", "mug", "rug", "fresh", "stranger"]
    items = [scanned(row, prompt, level(0.1), seed=row) for row, prompt in enumerate(prompts)]
    results = open_results(write_results(tmp_path / "out", items))
    truth = read_ground_truth(
        str(
            write_ground_truth(
                tmp_path / "truth.parquet",
                [
                    {"prompt": "fresh", "kind": "none", "mask": ~TOP & TOP},
                    {"prompt": "mug", "kind": "local", "mask": TOP},
                    {"prompt": "rug", "kind": "local", "mask": TOP},
                    {"prompt": "copy", "kind": "global", "mask": TOP | ~TOP},
                ],
            )
        )
    )
    selection = select(results, truth, None, 5)
    assert chosen(selection) == [("copy", 0), ("copy", 1), ("mug", 4), ("rug", 6), ("fresh", 7)]
    assert selection.total == 8


def test_the_last_step_is_drawn_unless_another_is_asked_for(tmp_path: Path) -> None:
    steps = (MeasuredStep(40, 101, 0.5, 0.25, True), STEP)
    results = open_results(write_results(tmp_path / "out", [scanned(0, "a", level(0.3), level(0.6))], steps=steps))
    last, first = select(results, None, None, 1), select(results, None, 40, 1)
    assert (last.step, last.timestep, last.threshold) == (49, 1, 0.5)
    assert (first.step, first.timestep, first.threshold) == (40, 101, 0.25)
    assert first.entries[0].maps["dh_uncond"][0, 0] == np.float16(0.3)
    with pytest.raises(UsageError, match=r"^step 3 was not measured: the results have 40, 49$"):
        select(results, None, 3, 1)


def test_maps_have_the_same_colours_on_every_sheet_whatever_is_the_largest(tmp_path: Path) -> None:
    """0.2 beside 0.8, and 0.2 as the largest of its sheet: one colour, and only the mask's map has a threshold."""
    for name, values in (("both", (0.8, 0.2)), ("low", (0.2, 0.1))):
        items = [
            scanned(row, f"p{row}", {"dh_uncond": np.full((16, 16), value, np.float32), "ds_base": TOP.astype("f4")})
            for row, value in enumerate(values)
        ]
        selection = select(open_results(write_results(tmp_path / name, items)), None, None, 2)
        heat, other = (column for column in columns(selection) if column.metric)
        panels = [heat.panel(entry) for entry in selection.entries]
        expected = [tuple(colours(np.float16(value))) for value in values]
        assert [panel.getpixel((5, 5)) for panel in panels if panel] == expected
        assert (heat.threshold, other.threshold) == (0.5, None)


def test_without_a_threshold_there_is_no_mask_to_draw(tmp_path: Path) -> None:
    results = write_results(tmp_path / "out", [scanned(0, "p", level(0.9))], steps=(UNCALIBRATED_STEP,))
    selection = select(open_results(results), None, None, 1)
    assert (selection.threshold, selection.calibrated, selection.reaching) == (None, False, 0)
    assert selection.entries[0].mask is None
    assert [column.heading for column in columns(selection)] == ["dh_uncond"]
    assert draw_sheet(selection).size[0] == 880


@pytest.mark.parametrize(
    ("score_name", "explanation"),
    [
        ("dh_uncond_mean", "mean of dh_uncond"),
        ("dh_base_q99", "0.99 quantile of dh_base"),
        ("guidance_norm", "guidance_norm"),
        ("flipd", "flipd, its sign turned"),
    ],
)
def test_the_score_is_explained_by_its_column(score_name: str, explanation: str) -> None:
    assert score_explanation(score_name) == explanation


def test_heat_maps_are_explained_by_the_catalogue_and_the_selection_knows_its_score(tmp_path: Path) -> None:
    item = scanned(0, "p", level(0.5), scores={"guidance_norm": 3.0})
    results = write_results(tmp_path / "out", [item], score_name="guidance_norm")
    selection = select(open_results(results), None, None, 1)
    assert (selection.score_name, selection.entries[0].score) == ("guidance_norm", 3.0)
    heat = next(column for column in columns(selection) if column.heading == "dh_uncond")
    assert heat.explanation == METRICS["dh_uncond"].says


def test_sheet_holds_the_panels_in_a_grid(tmp_path: Path) -> None:
    items = [scanned(row, f"p{row}", level(value)) for row, value in enumerate((0.8, 0.2))]
    results = write_results(tmp_path / "out", items, images={(0, 0): png(RED), (1, 0): png(RED)})
    truth = write_ground_truth(
        tmp_path / "truth.parquet",
        [{"prompt": f"p{n}", "kind": "local", "mask": TOP, "training_image": png(RED)} for n in range(2)],
    )
    selection = select(open_results(results), read_ground_truth(str(truth)), None, 2)
    shown = list(columns(selection))
    assert [column.heading for column in shown] == [
        "training image",
        "ground truth",
        "generated image",
        "dh_uncond",
        "mask",
    ]
    sheet = np.asarray(draw_sheet(selection))
    for entry in selection.entries:
        for column in shown:
            panel = np.asarray(column.panel(entry))
            assert any(
                (sheet[top : top + SIDE, left : left + SIDE] == panel).all()
                for top, left in np.argwhere((sheet[: -SIDE + 1, : -SIDE + 1] == panel[0, 0]).all(axis=2))
                if (sheet[top + SIDE - 1, left + SIDE - 1] == panel[-1, -1]).all()
            ), f"{column.heading} of {entry.prompt} is not on the sheet"


def test_overlay_keeps_the_image_inside_the_mask_and_fades_it_outside() -> None:
    panel, image = np.asarray(overlay(TOP, RED)), np.asarray(photo(RED))
    assert (panel[8:56, 8:-8] == image[8:56, 8:-8]).all()
    assert (panel[:2] == OUTLINE).all() and (panel[62:64] == OUTLINE).all()
    assert panel[64:].min() > 209  # 82% white
    assert (np.asarray(overlay(~TOP & TOP, RED)) != OUTLINE).any(axis=2).all()


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3))], save_maps=False)
    assert invoke(["show", "out"]) == 0
    assert capsys.readouterr() == (
        "out/sheet.png\n",
        "memscan: drawn without maps and images: `memscan run --maps --images` saves them\n",
    )
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width == 880


def test_a_sheet_of_one_of_several_steps_says_which_and_the_demos_stays(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = (MeasuredStep(40, 101, 0.5, 0.25, True), STEP)
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3), level(0.6))], steps=steps)
    Path("out/sheet.png").write_bytes(b"the demo's")
    assert invoke(["show", "out"]) == invoke(["show", "out", "--step", "40"]) == 0
    assert capsys.readouterr().out == "out/sheet-step-49.png\nout/sheet-step-40.png\n"
    assert Path("out/sheet.png").read_bytes() == b"the demo's"


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG")])
def test_the_name_of_the_file_gives_its_format(tmp_path: Path, monkeypatch: Any, name: str, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3))])
    assert invoke(["show", "out", "--out", name]) == 0
    with Image.open(name) as sheet:
        assert (sheet.format, sheet.width) == (kind, 880)


@pytest.mark.parametrize("name", ["sheet.gif", "sheet", "sheet.pdf", ".png"])
def test_a_format_that_it_does_not_write_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: Any, monkeypatch: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["show", "nowhere", "--out", name]) == 2
    assert capsys.readouterr().err == (
        f"memscan: error: --out {name}: a sheet is written to a file that ends in .png, .jpg, .jpeg\n"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/a.png", "No such file or directory"),
        ("folder.png", "Is a directory"),
        ("file/a.png", "Not a directory"),
        (f"{'n' * 300}.png", "File name too long"),
        ("circle.png", "Too many levels of symbolic links"),
    ],
    ids=["no folder", "a folder", "below a file", "too long", "circle of links"],
)
def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: Any, monkeypatch: Any, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("file").touch()
    Path("circle.png").symlink_to("circle.png")
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3))])
    assert invoke(["show", "out", "--out", name]) == 2
    assert capsys.readouterr().err == f"memscan: error: cannot write {name}: {reason}: choose another --out\n"


def test_the_largest_sheet_fits_a_jpeg(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    items = [scanned(row, f"p{row}", level(0.3)) for row in range(400)]
    write_results(tmp_path / "out", items, save_maps=False)
    assert invoke(["show", "out", "--limit", "400", "--out", "a.jpg"]) == 0
    with Image.open("a.jpg") as sheet:
        assert 400 * SIDE < sheet.height < 65536


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no results in nowhere: give the folder that `memscan run` wrote (its --out)"),
        (["errors"], "nothing to draw in errors at step 49: error rows only"),
        (["out", "--ground-truth", "G"], "nothing to draw in out at step 49: no scanned image has ground truth"),
        (
            ["other", "--ground-truth", "G"],
            "the ground truth's training image for 'b' cannot be decoded (image cannot be decoded: no PNG, JPEG, WEBP, "
            "BMP, GIF or TIFF, or one of a rare kind)",
        ),
        (["out", "--step", "7"], "step 7 was not measured: the results have 49"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, capsys: Any, monkeypatch: Any, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "errors", [Rejected(0, 0, "a", "seed is too large")])
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3))])
    write_results(tmp_path / "other", [scanned(0, "b", level(0.3))])
    write_ground_truth(tmp_path / "G", [{"prompt": "b", "kind": "global", "mask": None, "training_image": b"no PNG"}])
    assert invoke(["show", *arguments]) == 2
    assert capsys.readouterr().err == f"memscan: error: {message}\n"


@pytest.mark.parametrize(
    "error", [struct.error("unpack requires 4 bytes"), RuntimeError("no\nvalue"), IndexError()], ids=repr
)
def test_a_training_image_may_raise_whatever(
    error: Exception, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: Any, **options: Any) -> Any:
        raise error

    write_results(tmp_path / "out", [scanned(0, "b", level(0.3))])
    truth = [{"prompt": "b", "kind": "global", "mask": None, "training_image": png(RED)}]
    write_ground_truth(tmp_path / "G", truth)
    monkeypatch.setattr(Image, "open", raising)
    assert invoke(["show", str(tmp_path / "out"), "--ground-truth", str(tmp_path / "G")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memscan: error: the ground truth's training image for 'b' cannot be decoded (image cannot ")


@pytest.mark.parametrize(
    ("sources", "heading"),
    [
        (("sampled", "sampled"), "generated image"),
        (("sampled", "given, cropped from 3x4"), "image"),
        (("given",), "image"),
    ],
)
def test_the_heading_of_images_says_where_they_came_from(
    sources: tuple[str, ...], heading: str, tmp_path: Path
) -> None:
    items = [
        dataclasses.replace(scanned(row, f"p{row}", level(0.3)), sources=(source,))
        for row, source in enumerate(sources)
    ]
    images = {(row, 0): png(RED) for row in range(len(sources))}
    selection = select(open_results(write_results(tmp_path / "out", items, images=images)), None, None, 2)
    assert next(columns(selection)).heading == heading
    assert [entry.given for entry in selection.entries] == [source != "sampled" for source in sources]
