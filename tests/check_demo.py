"""Checks what `memscan demo` has written, as a stranger uses it: `python check_demo.py memscan-demo`. Used by CI.

`--steps 1` says that so many steps were measured, in a scan of the same prompts that is not the demo's.
"""

import argparse
import json
from pathlib import Path

import duckdb
from PIL import Image


def main(folder: Path, expected_steps: int) -> None:
    """Fail with an assertion if results are missing, in error, or do not find what the testbed has memorized."""
    query = f"SELECT count(*), count_if(status = 'ok') FROM '{folder}/results/*.parquet'"
    ((rows, ok),) = duckdb.sql(query).fetchall()
    assert rows == ok > 0, f"{rows - ok} of {rows} rows are not ok"
    assert (folder / "results" / "_SUCCESS").exists()
    with Image.open(folder / "sheet.png") as sheet:
        assert min(sheet.size) > 600
    if expected_steps == 3:
        assert "Content-Security-Policy" in (folder / "report.html").read_text()
    figures = json.loads((folder / "figures.json").read_text())
    steps = {record["step"] for record in figures["localization"]}
    assert len(steps) == expected_steps, f"measured at {sorted(steps)}, not at {expected_steps} steps"
    best = max(
        record["auc"]
        for record in figures["detection"]
        if (record["score"], record["kind"]) == ("dh_uncond_mean", "all")
    )
    assert best > 0.9, f"dh_uncond tells memorized prompts from others with an AUC of only {best:.3f}"
    print(f"{rows} rows, AUC {best:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.steps)
