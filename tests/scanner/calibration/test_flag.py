"""`memscan flag`: the procedure transcribed, what it promises, and what it says of a finished run."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.calibration.benjamini_hochberg import discoveries
from memscan.scanner.cli import invoke
from memscan.scanner.results import layout
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.schema import COLUMNS
from tests.scanner.results.fabricated import SETTINGS
from tests.scanner.run.small_run import error_line


def literal(p_values: list[float], rate: float) -> tuple[list[bool], list[float]]:
    """Benjamini and Hochberg as they wrote it: which are discoveries, and the q-value of each."""
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    k = max((rank for rank, i in enumerate(order, 1) if p_values[i] <= rate * rank / m), default=0)
    limit = p_values[order[k - 1]] if k else -1.0
    ranked = [p_values[i] for i in order]
    q = [min(min(m * ranked[j] / (j + 1) for j in range(rank, m)), 1.0) for rank in range(m)]
    return [p <= limit for p in p_values], [q[max(r for r in range(m) if ranked[r] == p)] for p in p_values]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_discoveries_are_those_of_the_procedure(rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values = (np.ceil(50 * rng.random(60) ** (1 + 3 * (np.arange(60) < 20))) / 50).tolist()  # with ties
    expected, q_values = literal(p_values, rate)
    found = discoveries(Counter(p_values), 60, rate)
    threshold = -1.0 if found.threshold is None else found.threshold
    assert [p <= threshold for p in p_values] == expected
    assert found.count == sum(expected)
    assert [found.q_values[p] for p in p_values] == pytest.approx(q_values, rel=1e-12)


def test_hypotheses_without_p_value_count_as_ones_that_failed() -> None:
    p_values = [0.001, 0.01, 0.02, 0.3]
    found = discoveries(Counter(p_values), 100, 0.2)
    expected, _ = literal([*p_values, *[1.0] * 96], 0.2)
    assert found.count == sum(expected) == 1


def test_rate_of_false_discoveries_holds() -> None:
    """80 of 100 are null: the mean share of false ones is at most 0.8 of the rate; here p-values are independent."""
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(1000):
        p_values = np.concatenate([rng.random(80), rng.random(20) ** 8])
        found = discoveries(Counter(p_values.tolist()), 100, 0.1)
        false = np.count_nonzero(p_values[:80] <= (found.threshold or 0.0))
        shares.append(false / max(found.count, 1))
    assert np.mean(shares) == pytest.approx(0.08, abs=4 * np.std(shares) / math.sqrt(1000))


def write_run(folder: Path, p_values: list[list[float | None]], statuses: list[list[str]], clean: int = 199) -> Path:
    """Results in parts, an image each row, whose only columns of interest are status and p-value."""
    run = {"version": "0.1.0", "settings": SETTINGS | {"score_name": "dh_uncond_mean"}}
    metadata = {"run": run, "latent_channels": 4, "thresholds": [], "clean_prompts": clean}
    row = 0
    for number, (of_part, fates) in enumerate(zip(p_values, statuses, strict=True)):
        count = len(of_part)
        columns: dict[str, list[object]] = {name: [None] * count for name in COLUMNS.names}
        columns |= {"row": list(range(row, row + count)), "seed": [0] * count, "step_index": [9] * count}
        columns |= {"status": list(fates), "p_value": list(of_part), "prompt": [f"prompt {i}" for i in range(count)]}
        columns |= {"timestep": [1] * count, "sigma": [0.1] * count, "model_id": ["m"] * count}
        columns |= {"calibrated": [True] * count, "score": [0.5] * count}
        schema = COLUMNS.with_metadata({f"memscan.{name}": json.dumps(value) for name, value in metadata.items()})
        file = folder / layout.results_part(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema), file)
        row += count
    (folder / layout.SUCCESS).touch()
    return folder


def test_flagged_rows_have_all_columns_and_q_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    p_values: list[list[float | None]] = [[0.005, 0.5, None], [0.005, None, 0.9, 0.01]]
    write_run(tmp_path / "run", p_values, [["ok", "ok", "error"], ["ok", "ok", "ok", "ok"]])
    out, figures = tmp_path / "flagged.parquet", tmp_path / "f.json"
    assert invoke(["flag", str(tmp_path / "run"), "--fdr", "0.05", "--out", str(out), "--json", str(figures)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 of 5 images at step 9 are flagged at a rate of false discoveries of 0.05: p <= 0.01",
        "1 images have status error, and were not tested",
        "1 images have no p-value, and were not tested",
    ]
    table = pq.read_table(out)
    assert table.column_names == [*open_results(tmp_path / "run").table.column_names, "q_value"]
    assert table["row"].to_pylist() == [0, 3, 6]
    assert table["q_value"].to_pylist() == pytest.approx([5 * 0.005 / 2, 5 * 0.005 / 2, 5 * 0.01 / 3])
    assert json.loads(figures.read_text())["flagged"] == 3


def test_too_few_clean_prompts_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", [[0.005, *[1.0] * 199]], [["ok"] * 200], clean=199)
    assert invoke(["flag", str(tmp_path / "run"), "--out", str(tmp_path / "none.parquet")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "nothing is flagged of 200 images at step 9 at a rate of false discoveries of 0.05",
        "with 199 clean prompts no p-value is below 0.005: fewer than 20 images cannot be flagged among 200; one alone "
        "needs 3999 clean prompts (memscan calibrate --clean)",
    ]
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_screened_images_are_tests_that_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", [[0.005, 0.01, None, None]], [["ok", "ok", "screened", "screened"]])
    assert invoke(["flag", str(tmp_path / "run"), "--fdr", "0.02"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "2 of 4 images at step 9, 2 of them screened are flagged at a rate of false discoveries of 0.02: p <= 0.01"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--step", "3"], "has the steps 9"),
        (["--out", "rows.csv"], "to a file that ends in .parquet"),
        (["--out", "missing/rows.parquet"], "there is no folder missing"),
    ],
    ids=["step", "suffix", "folder"],
)
def test_refusals(tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", [[0.005]], [["ok"]])
    assert invoke(["flag", str(tmp_path / "run"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_run_without_calibration_is_told_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", [[None, None]], [["ok", "ok"]])
    assert "`memscan calibrate BUNDLE` first" in error_line(["flag", str(tmp_path / "run")], 2, capsys)
