"""The histogram with a calibration's clean prompts beside the run's own scores."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.calibration.order_statistics import Limit
from memscan.scanner.calibration.record import (
    AtTimestep,
    CalibrationRecord,
    Clean,
    MapLimit,
    Recommended,
    ScoreLimit,
    Settings,
)
from memscan.scanner.cli import invoke
from memscan.scanner.settings import Probes
from tests.scanner.report.pages import of_class, parsed, plain_results, words
from tests.scanner.results.fabricated import SETTINGS

SCORES = {"a low one": 0.1, "the highest": 0.9, "one between": 0.5}
CLEAN = (0.01, 0.02, 0.02, 0.4)


def calibration(file: Path, timestep: int = 1, *, bundle: str = str(SETTINGS["bundle"]), **changes: Any) -> Path:
    """A calibration of the fabricated results' own model and settings, but for the `changes`."""
    limit = Limit(0.5, None, None, 0.0, 1.0)
    settings = Settings(50, 7.5, "ddim", Probes(), "exact")
    record = CalibrationRecord(
        1,
        bundle,
        "0.1.0",
        0.05,
        dataclasses.replace(settings, **changes),
        Clean(4, 1, "0" * 64),
        Recommended(timestep, "dh_uncond", "dh_uncond_mean", ""),
        (AtTimestep(timestep, {"dh_uncond_mean": ScoreLimit(CLEAN, limit)}, {"dh_uncond": MapLimit(0.5, limit)}),),
    )
    file.write_bytes(record.to_json())
    return file


def test_clean_scores_are_drawn_beside_those_of_the_run(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", SCORES)
    file = calibration(tmp_path / "calibration.json")
    assert invoke(["report", str(folder), "--calibration", str(file)]) == 0
    tree = parsed((folder / "report.html").read_text())
    (legend,) = of_class(tree, "legend")
    assert words(legend) == "clean prompts of the calibration: 4 all images: 3 flagged: 2"
    bars = [one for one in of_class(tree, "clean") if one.get("x")]
    width = 640 / 60
    # On the absolute scale of the map, 0 to 1: the scores' own bins.
    assert [round(float(one.get("x", "")) / width) for one in bars] == [int(score * 60) for score in (0.01, 0.02, 0.4)]
    assert [words(one) for one in bars] == [f"clean prompts of the calibration: {count}" for count in (1, 2, 1)]
    assert max(float(one.get("height", "")) for one in bars) == 200  # two of them are the most in any bin


def test_without_a_calibration_the_page_says_nothing_of_one(tmp_path: Path) -> None:
    folder = plain_results(tmp_path / "out", SCORES)
    assert invoke(["report", str(folder)]) == 0
    assert "clean prompts of the calibration" not in words(parsed((folder / "report.html").read_text()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bundle": "f" * 64}, "another measurement: its bundle is 'ffff"),
        ({"guidance_scale": 3.0}, "another measurement: its guidance_scale is 3.0, that of .* 7.5: give that of"),
        ({"sampler": "dpmsolver++"}, "another measurement: its sampler is 'dpmsolver"),
        ({"probes": Probes(count=4)}, "another measurement: its probes.count is 4"),
        ({"timestep": 201}, "has no dh_uncond_mean at timestep 1: calibrate it, or choose a --step"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_calibration_of_something_else_is_refused(
    changes: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plain_results(tmp_path / "out", SCORES)
    file = calibration(tmp_path / "calibration.json", **changes)
    assert invoke(["report", str(folder), "--calibration", str(file)]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not (folder / "report.html").exists()


def test_what_is_no_calibration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_results(tmp_path / "out", SCORES)
    (tmp_path / "c.json").write_text("{}")
    for name, says in (("c.json", "is no calibration"), ("gone.json", "cannot read the calibration")):
        assert invoke(["report", str(folder), "--calibration", str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
