"""Two results side by side: the paired bootstrap against one that is written out, and what is compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.compare import compare
from memscan.scanner.evaluation.figures import Difference
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.evaluation.overlap import percentile_interval, resampled
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import MeasuredStep
from tests.scanner.results.fabricated import STEP, scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)
MEMORIZED, OTHERS = 12, 30
PROMPTS = [f"m{n}" for n in range(MEMORIZED)] + [f"o{n}" for n in range(OTHERS)]

Map = NDArray[np.float32]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    kinds = [("local", TOP)] * MEMORIZED + [("none", None)] * OTHERS
    rows = [{"prompt": prompt, "kind": kind, "mask": mask} for prompt, (kind, mask) in zip(PROMPTS, kinds, strict=True)]
    return write_ground_truth(tmp_path / "truth.parquet", rows)


def maps_of(seed: int, shift: float) -> list[Map]:
    generator = np.random.default_rng(seed)
    return [
        (0.6 * generator.random((16, 16)) + shift * TOP * (n < MEMORIZED)).astype(np.float32)
        for n in range(len(PROMPTS))
    ]


def write(folder: Path, maps: list[Map], **more: Any) -> Path:
    items = [
        scanned(row, prompt, {"dh_uncond": one}) for row, (prompt, one) in enumerate(zip(PROMPTS, maps, strict=True))
    ]
    return write_results(folder, items, **more)


def by_name(differences: tuple[Difference, ...]) -> dict[tuple[str, str, str | None], Difference]:
    return {(one.figure, one.kind, one.protocol): one for one in differences}


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    pairs = scores[labels][:, None] - scores[~labels][None]
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def test_the_interval_draws_both_alike(tmp_path: Path, truth: Path) -> None:
    a, b = maps_of(0, 0.02), maps_of(1, 0.1)
    first, second = write(tmp_path / "a", a), write(tmp_path / "b", b)
    found = compare(open_results(first), open_results(second), read_ground_truth(str(truth)))
    one = by_name(found.differences)["AUC dh_uncond_mean", "all", None]
    labels = np.arange(len(PROMPTS)) < MEMORIZED
    scores = [np.array([each.mean(dtype=np.float64).astype(np.float32) for each in maps]) for maps in (a, b)]
    assert (one.first, one.second) == pytest.approx([auc(each, labels) for each in scores], abs=1e-12)
    generator = np.random.default_rng(0)
    drawn, others = resampled(MEMORIZED, generator), resampled(OTHERS, generator)
    replicates = []
    for positive, negative in zip(drawn.astype(int), others.astype(int), strict=True):
        images = np.repeat(np.arange(len(PROMPTS)), np.concatenate((positive, negative)))
        replicates.append(auc(scores[1][images], labels[images]) - auc(scores[0][images], labels[images]))
    assert (one.low, one.high) == pytest.approx(percentile_interval(np.array(replicates)), abs=1e-12)
    assert one.difference == one.second - one.first
    assert (one.images, one.captions) == (MEMORIZED + OTHERS, MEMORIZED + OTHERS)


def test_results_against_themselves_differ_by_nothing(tmp_path: Path, truth: Path) -> None:
    results = open_results(write(tmp_path / "a", maps_of(0, 0.1)))
    found = compare(results, results, read_ground_truth(str(truth)))
    figures = by_name(found.differences)
    assert {("IoU dh_uncond", "local", "oracle"), ("IoU dh_uncond", "all", "fixed")} <= figures.keys()
    assert ("AUC dh_uncond_share", "local", None) in figures
    assert {(one.difference, one.low or 0.0, one.high or 0.0) for one in figures.values()} == {(0.0, 0.0, 0.0)}
    assert found.notes == ()


def test_a_difference_of_masks_is_seen(tmp_path: Path, truth: Path) -> None:
    first = write(tmp_path / "a", maps_of(0, 0.5))
    second = write(tmp_path / "b", maps_of(0, 0.2))
    found = by_name(compare(open_results(first), open_results(second), read_ground_truth(str(truth))).differences)
    one = found["IoU dh_uncond", "local", "fixed"]
    assert one.high is not None and one.difference < one.high < 0
    assert one.images == MEMORIZED


def test_only_shared_images_count_whatever_their_rows(tmp_path: Path, truth: Path) -> None:
    maps = maps_of(0, 0.1)
    first = write(tmp_path / "a", maps)
    reordered = [scanned(40 - n, PROMPTS[n], {"dh_uncond": maps[n]}) for n in range(2, 40)]
    second = write_results(tmp_path / "b", sorted(reordered, key=lambda one: one.samples[0].row))
    found = compare(open_results(first), open_results(second), read_ground_truth(str(truth)))
    assert by_name(found.differences)["AUC dh_uncond_mean", "all", None].images == 38
    assert {one.difference for one in found.differences} == {0.0}
    assert found.notes == ("timestep 1: 4 images of the first and 0 of the second stand alone",)


def test_steps_are_paired_by_timestep_or_where_they_are_alone(tmp_path: Path, truth: Path) -> None:
    maps, late = maps_of(0, 0.1), MeasuredStep(40, 101, 0.5, 0.5, False)
    one, other = write(tmp_path / "a", maps), write(tmp_path / "b", maps, steps=(late,))
    known = read_ground_truth(str(truth))
    assert compare(open_results(one), open_results(other), known).differences[0].timesteps == (1, 101)
    both = write_results(
        tmp_path / "c",
        [scanned(n, PROMPTS[n], {"dh_uncond": maps[n]}, {"dh_uncond": maps[n]}) for n in range(len(PROMPTS))],
        steps=(late, STEP),
    )
    found = compare(open_results(one), open_results(both), known)
    assert {each.timesteps for each in found.differences} == {(1, 1)}
    assert found.notes[-1] == "1 measured steps have no counterpart in the other results"
    two = MeasuredStep(30, 201, 0.5, 0.5, False), MeasuredStep(31, 181, 0.5, 0.5, False)
    strange = write_results(
        tmp_path / "d", [scanned(0, "m0", {"dh_uncond": maps[0]}, {"dh_uncond": maps[0]})], steps=two
    )
    with pytest.raises(UsageError, match=r"was measured at timestep 1, .* at 201, 181: none is shared$"):
        compare(open_results(one), open_results(strange), known)


def test_nothing_in_common_is_one_line(tmp_path: Path, truth: Path) -> None:
    first = write_results(tmp_path / "a", [scanned(0, "m0", {"dh_uncond": maps_of(0, 0.1)[0]})])
    second = write_results(tmp_path / "b", [scanned(0, "m1", {"dh_uncond": maps_of(0, 0.1)[0]})])
    with pytest.raises(UsageError, match=r"have no image of one prompt and seed in common$"):
        compare(open_results(first), open_results(second), read_ground_truth(str(truth)))


def test_the_command_prints_and_writes(tmp_path: Path, truth: Path, capsys: Any) -> None:
    first, second = write(tmp_path / "a", maps_of(0, 0.5)), write(tmp_path / "b", maps_of(0, 0.2))
    options = ["--ground-truth", str(truth), "--json", str(tmp_path / "d.json")]
    assert invoke(["eval", str(first), str(second), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "timestep 1: second minus first, on the images that both have"
    assert any(line.startswith("IoU dh_uncond, fixed ") and line.split()[3] == "local" for line in lines)
    assert max(map(len, lines)) <= 80
    found = json.loads((tmp_path / "d.json").read_text())
    assert list(found) == ["differences", "notes"]
    assert found["differences"][0]["figure"] == "AUC dh_uncond_mean"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "c"], "one folder of results or two are compared with ground truth, not 3"),
        (["a", "b", "--plot", "x.png"], "--per-image and --plot are of one folder of results"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, truth: Path, capsys: Any) -> None:
    assert invoke(["eval", *arguments, "--ground-truth", str(truth)]) == 2
    assert message in capsys.readouterr().err
