"""The order of docs/configuration.md, on the real command: each place wins over all that stand below it."""

import re
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from tests.scanner.run.run_command import write

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def steps(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, list[int]]:
    """Inference steps and measured steps of a dry run."""
    capsys.readouterr()
    assert invoke(["run", "m.parquet", "--dry-run", *options]) == 0
    found = re.search(r"(\d+) steps of ddim, .* measured at steps? ([\d, ]+) with", capsys.readouterr().err)
    assert found is not None
    return found[1], [int(index) for index in found[2].split(",")]


def test_command_line_variable_file_bundle(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSCAN_MODEL", str(analytic))
    write("m.parquet", prompt=["a city"], kind=["x"], campaign=["y"])
    assert steps(capsys) == ("10", [7, 8, 9])  # the bundle's
    in_file = re.search(r"^num_inference_steps = (\d+)$", PAGE, re.M)
    in_variable = re.search(r"`(MEMSCAN_RUN_NUM_INFERENCE_STEPS)=(\d+)`", PAGE)
    on_line = re.search(r"`(--num-inference-steps) (\d+)`", PAGE)
    assert in_file and in_variable and on_line
    at = ("--step", "1")
    table = PAGE.partition("```toml")[2].partition("[run]")[2].partition("```")[0]
    Path("memscan.toml").write_text(f"[run]{table}")
    assert steps(capsys, *at) == (in_file[1], [1])
    Path("night.toml").write_text("[run]\nnum_inference_steps = 4\n")
    monkeypatch.setenv("MEMSCAN_CONFIG", "night.toml")
    assert steps(capsys, *at) == ("4", [1])
    assert steps(capsys, "--config", "memscan.toml", *at) == (in_file[1], [1])
    monkeypatch.setenv(in_variable[1], in_variable[2])
    assert steps(capsys, "--config", "memscan.toml", *at) == (in_variable[2], [1])
    assert steps(capsys, on_line[1], on_line[2], *at) == (on_line[2], [1])
    monkeypatch.setenv("MEMSCAN_RUN_STEP", "1 3")
    assert steps(capsys, on_line[1], on_line[2]) == (on_line[2], [1, 3])
    assert steps(capsys, on_line[1], on_line[2], *at) == (on_line[2], [1])
