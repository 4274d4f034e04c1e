"""What all tests of faults compare: the same small scan, with maps and images, undisturbed."""

from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet as pq

from memscan.scanner.cli import invoke
from tests.scanner.run.small_run import ROWS, STEPS, command, contents, write_manifest

KEYS = ["row", "seed", "step_index"]


def arguments(folder: Path, model: Path) -> list[str]:
    """The command of a scan of `ROWS` into `folder`/out; its manifest is written."""
    folder.mkdir(parents=True, exist_ok=True)
    return command(write_manifest(folder / "m.parquet", ROWS), model, folder / "out")


def undisturbed(folder: Path, model: Path) -> dict[str, Any]:
    """All that a reader sees of the scan that nothing happened to."""
    assert invoke(arguments(folder, model)) == 3
    return contents(folder / "out")


def assert_whole(out: Path, expected: dict[str, Any]) -> None:
    """Exactly the manifest's rows, equal to the undisturbed scan, for four readers of Parquet."""
    found = contents(out)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert repr(found[name]) == repr(content), name  # NaN is itself
    keys = sorted((row, seed, step) for row, values in enumerate(ROWS) for seed in values["seed"] for step in STEPS)
    results = out / "results"
    readers = {
        "pyarrow": pq.read_table(results).select(KEYS).to_pandas().itertuples(index=False),
        "pandas": pandas.read_parquet(results)[KEYS].itertuples(index=False),
        "polars": polars.read_parquet(results).select(KEYS).rows(),
        "duckdb": duckdb.sql(f"SELECT row, seed, step_index FROM '{results}/*.parquet'").fetchall(),
    }
    for reader, rows in readers.items():
        assert sorted(tuple(row) for row in rows) == keys, reader
