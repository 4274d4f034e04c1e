"""What is said in a sheet's head and across it: model, settings, threshold, and what must not be trusted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memscan.scanner.embedded import TOY
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import MeasuredStep
from memscan.scanner.sheet.draw import draw_sheet
from memscan.scanner.sheet.entries import Selection, select
from memscan.scanner.sheet.facts import CAUTION, TITLE, facts
from memscan.scanner.sheet.stamp import UNCALIBRATED, stamps
from tests.scanner.results.fabricated import STEP, scanned, write_results

GIVEN = MeasuredStep(49, 1, 0.25, 0.3, False)
WITHOUT = MeasuredStep(49, 1, 0.25, None, False)


def selected(folder: Path, step: MeasuredStep = STEP, value: float = 0.2, limit: int = 9, **options: Any) -> Selection:
    maps = {"dh_uncond": np.full((4, 4), value, np.float32)}
    items = [scanned(row, f"p{row}", maps, id=f"id{row}") for row in range(2)]
    return select(open_results(write_results(folder, items, steps=(step,), **options)), None, None, limit)


def test_model_bundle_version_date_and_settings_are_said(tmp_path: Path) -> None:
    first, second, third, *_ = facts(selected(tmp_path / "a", written="2026-11-28T03:14:05+00:00", limit=1))
    assert first == "Model fabricated (bundle 0123456789ab), scanned by memscan 0.1.0 on 2026-11-28."
    assert second == (
        "50 steps of ddim, guidance 7.5, 8 hadamard probes of seed 0, exact derivative; measured at step 49 (timestep"
        " 1, sigma 0.25)."
    )
    assert third == "Shown: 1 of 2 images, the highest scores first."
    undated, _, third, *_ = facts(selected(tmp_path / "b"))
    assert undated.endswith("scanned by memscan 0.1.0.")
    assert third == "Shown: all 2 images."


@pytest.mark.parametrize(
    ("step", "value", "said"),
    [
        (
            STEP,
            0.2,
            "Threshold: dh_uncond of 0.500, calibrated for this model at exactly these settings. There is nothing above"
            " the threshold in any of 2 images.",
        ),
        (
            STEP,
            0.5,
            "Threshold: dh_uncond of 0.500, calibrated for this model at exactly these settings. 2 of 2 images have"
            " pixels above it.",
        ),
        (
            GIVEN,
            0.2,
            "UNCALIBRATED. Threshold: dh_uncond of 0.300, given by hand: not calibrated for this model at these"
            " settings. There is nothing above the threshold in any of 2 images.",
        ),
        (
            WITHOUT,
            0.9,
            "UNCALIBRATED: no threshold of dh_uncond was calibrated for this model at these settings, and none was"
            " given. So there are no masks, and no value here is known to be high.",
        ),
    ],
    ids=["nothing above", "above", "given", "none"],
)
def test_the_threshold_is_said_and_that_nothing_reaches_it(
    tmp_path: Path, step: MeasuredStep, value: float, said: str
) -> None:
    assert said in list(facts(selected(tmp_path / "a", step, value)))


def test_what_a_score_does_not_say_is_said_and_the_title_claims_nothing(tmp_path: Path) -> None:
    assert list(facts(selected(tmp_path / "a")))[-1] == CAUTION
    assert not {"memorize", "memorized", "repeat", "training"} & set(TITLE.lower().split())


@pytest.mark.parametrize(
    ("step", "model_id", "words"),
    [
        (STEP, "sd", ()),
        (GIVEN, "sd", (UNCALIBRATED,)),
        (WITHOUT, "sd", (UNCALIBRATED,)),
        (STEP, f"memscan-testbed ({TOY})", (TOY,)),
        (WITHOUT, f"memscan-testbed ({TOY})", (TOY, UNCALIBRATED)),
    ],
)
def test_what_must_not_be_trusted_is_written_across(
    tmp_path: Path, monkeypatch: Any, step: MeasuredStep, model_id: str, words: tuple[str, ...]
) -> None:
    """Beside the same sheet without the words, each third of its width and of its lower part is another."""
    selection = selected(tmp_path / "a", step, model_id=model_id)
    assert stamps(selection) == words
    with_words = np.asarray(draw_sheet(selection)).astype(int)
    monkeypatch.setattr("memscan.scanner.sheet.draw.stamps", lambda selection: ())
    changed = (np.asarray(draw_sheet(selection)) != with_words).any(axis=2)
    lower = changed[-2 * 142 - 40 :]
    assert [third.any() for third in np.array_split(lower, 3, axis=1)] == [bool(words)] * 3
    assert [half.any() for half in np.array_split(lower, 2, axis=0)] == [bool(words)] * 2
    assert lower.mean() < 0.1


@pytest.mark.parametrize("value", [-0.0002, 0.0, 0.4, 1.7])
def test_bars_are_absolute_and_bear_the_threshold(tmp_path: Path, value: float) -> None:
    """The bar's rows of pixels: filled from the left to the score, of which 1 is the end, with a dark tick at 0.5."""
    sheet = np.asarray(draw_sheet(selected(tmp_path / "a", value=value))).astype(int)
    bar = sheet[:, 40 + 184 + 2 * 142 :][:, :160]
    grey, red = (bar == (222, 222, 226)).all(axis=2), (bar == (226, 32, 88)).all(axis=2)
    rows = np.flatnonzero((grey | red).sum(axis=1) >= 157)  # all but the tick and its border
    assert len(rows) == 2 * 6
    share = min(max(value, 0.0), 1.0)
    for row in rows:
        assert red[row].sum() == pytest.approx(160 * share, abs=3.5)
        assert np.flatnonzero((bar[row] == (28, 28, 32)).all(axis=1)).tolist() == [round(0.5 * 159)]
