"""`memscan report`: what the page says, that it is whole by itself, and that no prompt becomes a part of it."""

import base64
import hashlib
import json
import re
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.report.html import html
from memscan.scanner.results import batch_maker
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import Rejected
from tests.scanner.report.pages import (
    HOSTILE,
    SCRIPTS,
    UNCALIBRATED,
    hostile_results,
    level,
    of_class,
    parsed,
    plain_results,
    png,
    words,
)
from tests.scanner.results.fabricated import scanned, with_column, write_ground_truth, write_results

THREE = {"a low one": 0.1, "the highest": 0.9, "one between": 0.5}


def tiles(page: str) -> dict[str, str]:
    found = of_class(parsed(page), "tile")
    return {words(one[0]): words(one[1]) for one in found}


def test_page_is_written_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_results(tmp_path / "out", THREE)
    assert invoke(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert "memscan report" in (folder / "report.html").read_text()


def test_head_says_what_an_auditor_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls(2026, 11, 28, 1, 2, 3, tzinfo=tz)

    monkeypatch.setattr(batch_maker, "datetime", Clock)
    folder = plain_results(tmp_path / "out", THREE, written="2026-11-28T01:02:03+00:00", model_id="acme/fox-1")
    page = html(open_results(folder), top=10)
    assert tiles(page)["images scanned"].startswith("3 all images")
    assert tiles(page)["flagged"].startswith("2 66.67% of those scanned: a part of the map reaches the threshold")
    assert tiles(page)["false-positive rate"].startswith("not known")
    facts = {words(one[0]): words(one[1]) for one in of_class(parsed(page), "facts")[0]}
    assert facts["Model"] == "acme/fox-1"
    assert facts["Model's digest"] == "0123456789abcdef" * 4
    assert (facts["Scanned"], facts["memscan"]) == ("2026-11-28 01:02", "0.1.0")
    assert facts["Sampling"] == "50 steps of ddim, guidance 7.5"
    assert facts["Mask"] == "where dh_uncond is 0.500 or more, calibrated for this model at exactly these settings"


def test_cards_are_the_highest_scores_in_order(tmp_path: Path) -> None:
    tree = parsed(html(open_results(plain_results(tmp_path / "out", THREE)), top=2))
    assert [words(one) for one in of_class(tree, "prompt")] == ["the highest", "one between"]
    assert "the 2 highest scores of 3" in words(tree)


def test_page_loads_nothing_and_names_its_own_style_and_script(tmp_path: Path) -> None:
    """The digests of the policy are those of what the parser finds, so a browser runs these two and no other."""
    page = html(open_results(hostile_results(tmp_path / "out")), top=20)
    tree = parsed(page)
    (policy,) = (one.get("content", "") for one in tree.iter("meta") if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (only,) = tree.iter(tag)
        digest = base64.b64encode(hashlib.sha256((only.text or "").encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for one in tree.iter():
        for name in ("src", "href", "data", "action", "srcset", "poster", "xlink:href"):
            assert one.get(name, "#").startswith(("data:image/", "#")), (one.tag, one.get(name))
        assert not [name for name in one.attrib if str(name).startswith("on") or name == "style"], one.attrib
    assert not re.search(r"url\(|@import", words(next(tree.iter("style"))))


def test_nothing_of_a_prompt_becomes_markup(tmp_path: Path) -> None:
    page = html(open_results(hostile_results(tmp_path / "out")), top=20)
    tree = parsed(page)
    shown = [one.text or "" for one in of_class(tree, "prompt")]
    assert shown[: len(HOSTILE) - 1] == list(HOSTILE[:-1])
    assert shown[len(HOSTILE) - 1] == "evil \\u202egnp.exe\\u2066 \\x1b[2J\\x07"
    assert shown[len(HOSTILE) :] == list(SCRIPTS)
    cards = of_class(tree, "card")
    assert [json.loads(one.get("data-values", ""))["row"] for one in cards] == list(range(len(cards)))
    assert {one.get("data-flagged") for one in cards} == {"yes", "no"}
    assert not any(one.tag == "b" and one.text == "tag" for one in tree.iter())


def test_run_in_which_nothing_is_memorized_looks_so(tmp_path: Path) -> None:
    """The scale is absolute: the highest of low scores has a short grey bar, nothing is flagged, no veil is drawn."""
    folder = plain_results(tmp_path / "out", {f"prompt {row}": 0.01 * row for row in range(4)})
    tree = parsed(html(open_results(folder), top=10))
    assert [one.get("width") for one in of_class(tree, "fill")] == ["3.0%", "2.0%", "1.0%", "0.0%"]
    assert [one.get("x") for one in of_class(tree, "at")] == ["50.0%"] * 4
    assert not of_class(tree, "flag")
    assert {one.get("data-flagged") for one in of_class(tree, "card")} == {"no"}


def test_results_without_images_and_maps_show_their_masks(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "out", [scanned(0, "p", level(0.9, part=True))], save_maps=False)
    tree = parsed(html(open_results(folder), top=10))
    assert [one.get("data-layer") for one in of_class(tree, "layer")] == ["mask"]
    assert not of_class(tree, "base")
    assert "mask 50%" in words(of_class(tree, "card")[0])


def test_without_a_threshold_nothing_is_flagged_and_the_page_says_why(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", THREE, steps=[UNCALIBRATED])
    page = html(open_results(folder), top=10)
    assert tiles(page)["flagged"] == "- nothing can be flagged: no threshold was calibrated or given"
    assert [words(one) for one in of_class(parsed(page), "badges")] == ["UNCALIBRATED"]


def test_p_values_flag_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    folder = with_column(plain_results(tmp_path / "out", THREE), "p_value", [0.3, 0.001, 0.05], pa.float32())
    found = {rate: tiles(html(open_results(folder), top=10, rate=rate)) for rate in (0.01, 0.05)}
    assert found[0.01]["flagged"].startswith("1 33.33% of those scanned: their p-value is 0.01 or less")
    assert found[0.05]["flagged"].startswith("2 ")
    assert found[0.05]["false-positive rate"].startswith("0.05 by calibration")


def test_ground_truth_gives_the_rate_that_was_measured_and_a_curve(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", THREE)
    kinds = {"a low one": "none", "the highest": "global", "one between": "none"}
    truth = write_ground_truth(
        tmp_path / "t.parquet", [{"prompt": prompt, "kind": kind, "mask": None} for prompt, kind in kinds.items()]
    )
    page = html(open_results(folder), top=10, truth=read_ground_truth(str(truth)))
    assert tiles(page)["false-positive rate"].startswith("1 of 2 measured: 1 of 2 images known not to be memorized")
    (curve,) = of_class(parsed(page), "curve")
    assert curve.get("d") == "M0.0 260.0L0.0 0.0L260.0 0.0"
    assert "AUC 1.000" in page


def test_training_pictures_are_shown_where_known(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", THREE, images={(1, 0): png((200, 0, 0))})
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "dl_001.png").write_bytes(png((0, 0, 200)))
    assert invoke(["report", str(folder), "--training", str(tmp_path / "training")]) == 0
    cards = of_class(parsed((folder / "report.html").read_text()), "card")
    assert [len(of_class(card, "training")) for card in cards] == [1, 0, 0]


def test_errors_are_counted_by_kind(tmp_path: Path) -> None:
    failed = [Rejected(row, 0, None, f"prompt has {row} characters, 'x{row}' is one") for row in range(1, 4)]
    other = Rejected(4, 0, None, "prompt is null")
    folder = write_results(tmp_path / "out", [scanned(0, "p", level(0.9)), *failed, other])
    page = html(open_results(folder), top=10)
    rows = [[words(cell) for cell in row] for row in next(parsed(page).iter("tbody"))]
    assert rows == [["3", "prompt has 1 characters, 'x1' is one", "1"], ["1", "prompt is null", "4"]]
    assert tiles(page)["errors"].startswith("4 ")
    assert tiles(page)["images scanned"] == "1 of 5 in the results (4 error)"


def test_run_of_errors_alone_is_a_page_too(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "out", [Rejected(0, 0, None, "prompt is null")], save_maps=False)
    page = html(open_results(folder), top=10)
    assert "No image was scanned: there is nothing to show." in page
    assert not of_class(parsed(page), "card")


def test_unfinished_run_is_said(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", THREE, finished=False)
    assert "This run is not finished." in html(open_results(folder), top=10)


def test_step_that_was_not_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_results(tmp_path / "out", THREE)
    assert invoke(["report", str(folder), "--step", "3"]) == 2
    assert capsys.readouterr().err == "memscan: error: step 3 was not measured: the results have 49\n"


def test_a_score_of_another_unit_has_no_bar(tmp_path: Path) -> None:
    items = [scanned(row, "p", level(0.1), seed=row, scores={"guidance_norm": 3.0 + row}) for row in range(3)]
    folder = write_results(tmp_path / "out", items, score_name="guidance_norm")
    tree = parsed(html(open_results(folder), top=10))
    assert not of_class(tree, "meter")
    assert [one.text for one in of_class(tree, "tick")[-3:]] == ["3", "4", "5"]


def test_mask_of_the_truth_is_a_layer_of_its_own(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "out", [scanned(0, "p", level(0.9, part=True))])
    half = np.repeat([True, False], 8)[:, None] & np.ones(16, np.bool_)
    truth = write_ground_truth(tmp_path / "t.parquet", [{"prompt": "p", "kind": "local", "mask": half}])
    tree = parsed(html(open_results(folder), top=10, truth=read_ground_truth(str(truth))))
    assert [one.get("data-layer") for one in of_class(tree, "layer")] == ["mask", "true mask", "dh_uncond"]
    assert "IoU with truth 1.00" in words(of_class(tree, "card")[0])


def test_endless_prompt_is_cut_and_its_length_said(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", {"x" * 2500: 0.5})
    (prompt,) = of_class(parsed(html(open_results(folder), top=10)), "prompt")
    assert words(prompt) == f"{'x' * 2000} ... (500 more characters)"
