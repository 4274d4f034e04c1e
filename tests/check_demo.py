"""Checks what `memscan demo` has written, as a stranger uses it: `python check_demo.py memscan-demo`. Used by CI."""

import json
import sys
from pathlib import Path

import duckdb
from PIL import Image


def main(folder: Path) -> None:
    """Fail with an assertion if results are missing, in error, or do not find what the testbed has memorized."""
    query = f"SELECT count(*), count_if(status = 'ok') FROM '{folder}/results/*.parquet'"
    ((rows, ok),) = duckdb.sql(query).fetchall()
    assert rows == ok > 0, f"{rows - ok} of {rows} rows are not ok"
    assert (folder / "results" / "_SUCCESS").exists()
    with Image.open(folder / "sheet.png") as sheet:
        assert min(sheet.size) > 600
    figures = json.loads((folder / "figures.json").read_text())
    steps = {record["step"] for record in figures["localization"]}
    assert len(steps) == 3, f"measured at {sorted(steps)}, not at three steps"
    best = max(
        record["auc"]
        for record in figures["detection"]
        if (record["score"], record["kind"]) == ("dh_uncond_mean", "all")
    )
    assert best > 0.9, f"dh_uncond tells memorized prompts from others with an AUC of only {best:.3f}"
    print(f"{rows} rows, AUC {best:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
