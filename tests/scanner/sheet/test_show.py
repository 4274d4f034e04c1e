"""`memscan show`: which images are drawn, what their panels hold, and what is said of that which cannot be drawn."""

import io
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
from memscan.scanner.sheet.colormap import colours, scale_end
from memscan.scanner.sheet.columns import columns, score_explanation
from memscan.scanner.sheet.draw import draw_sheet
from memscan.scanner.sheet.entries import Selection, select
from memscan.scanner.sheet.panels import OUTLINE, SIDE, heat_map, overlay, photo
from memscan.scanner.sheet.typography import font, printable, wrapped
from tests.scanner.results.fabricated import STEP, scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)
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


def test_each_map_has_one_scale_over_the_sheet(tmp_path: Path) -> None:
    """The same value has the same colour in every row: the scale is that of the largest map."""
    items = [scanned(row, f"p{row}", level(value)) for row, value in enumerate((0.8, 0.2))]
    selection = select(open_results(write_results(tmp_path / "out", items)), None, None, 2)
    heat = next(column for column in columns(selection) if column.heading == "dh_uncond")
    assert heat.scale == 0.8
    panels = [heat.panel(entry) for entry in selection.entries]
    expected = [tuple(colours(np.float16(value), 0.8)) for value in (0.8, 0.2)]
    assert [panel.getpixel((5, 5)) for panel in panels if panel] == expected


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
        "found",
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


def test_colours_rise_in_lightness_and_clip() -> None:
    ramp = colours(np.linspace(0, 2, 201), 2.0).astype(np.float64)
    luminance = ((ramp / 255) ** 2.2) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()
    assert (colours(np.array([-1.0, 5.0]), 2.0) == ramp[[0, -1]]).all()
    assert (np.asarray(heat_map(TOP * 2.0, 2.0))[[0, -1], 0] == ramp[[-1, 0]]).all()


@pytest.mark.parametrize(
    ("largest", "end"), [(0.37, 0.4), (1.0, 1.0), (0.0021, 0.0025), (73.0, 80.0), (-0.5, 1.0), (0.0, 1.0)]
)
def test_scales_end_at_a_round_number(largest: float, end: float) -> None:
    assert scale_end(np.full(10, largest)) == pytest.approx(end, rel=1e-12)


def test_text_is_broken_into_lines_that_fit() -> None:
    text = "an unreasonablylongwordthatfitsnowhereatall in a prompt that goes on and on and on and on"
    lines = wrapped(text, 14, 120, 3)
    assert len(lines) == 3
    assert all(font(14).getlength(line) <= 120 for line in lines)
    assert lines[-1].endswith("...")
    assert wrapped("short", 14, 120, 3) == ["short"]


def test_text_that_the_font_lacks_is_replaced() -> None:
    assert printable("Café\n über 茶 tea") == "Cafe uber ? tea"


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "out", [scanned(0, "a", level(0.3))], save_maps=False)
    assert invoke(["show", "out"]) == 0
    assert capsys.readouterr() == (
        "out/sheet.png\n",
        "memscan: drawn without maps and images: `memscan run --maps --images` saves them\n",
    )
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width == 720


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no results in nowhere: give the folder that `memscan run` wrote (its --out)"),
        (["errors"], "nothing to draw in errors at step 49: error rows only"),
        (["out", "--ground-truth", "G"], "nothing to draw in out at step 49: no scanned image has ground truth"),
        (["other", "--ground-truth", "G"], "the ground truth's training image for 'b' cannot be decoded"),
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
