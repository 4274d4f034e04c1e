"""docs/recipes.md: each block is run on results as a run leaves them, and gives what it says."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.samples import Rejected
from tests.scanner.report.pages import level
from tests.scanner.results.fabricated import scanned, write_results

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"
SECTIONS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
BLOCKS = [
    (title, library, code)
    for title, text in SECTIONS
    for library, code in re.findall(r"^```python (\w+)\n(.*?)^```", text, re.M | re.S)
]
SPARK = [block for block in BLOCKS if block[1] == "spark"]
OTHERS = [block for block in BLOCKS if block[1] != "spark"]

SCORES = {"the fox": 0.9, "the owl": 0.7, "a hill": 0.1, "a pond": 0.2}
SOURCES = ["web", "web", "own", "web"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, `out` with maps, a carried column and an error row, and the manifest of both."""
    items = [
        scanned(row, prompt, level(value, part=row == 0), id=f"id-{row}", carried={"source": SOURCES[row]})
        for row, (prompt, value) in enumerate(SCORES.items())
    ]
    failed = Rejected(4, 0, None, "prompt is null")
    for name in ("out", "other"):
        write_results(tmp_path / name, [*items, failed], carried={"source": pa.string()})
    manifest = {"id": [f"id-{row}" for row in range(4)], "prompt": list(SCORES), "licence": ["cc", "none", "cc", "cc"]}
    pq.write_table(pa.table(manifest), tmp_path / "manifest.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, str(PAGE), "exec"), found)
    return found


def rows(table: Any) -> list[tuple[Any, ...]]:
    """The rows of a table of whatever library."""
    if hasattr(table, "fetchall"):
        return list(table.fetchall())
    if hasattr(table, "rows"):
        return list(table.rows())
    if hasattr(table, "collect"):
        return [tuple(row) for row in table.collect()]
    if hasattr(table, "columns"):
        named = table.reset_index() if table.index.name else table
        return [tuple(row) for row in named.itertuples(index=False)]
    return list(table.items())


def check(title: str, found: dict[str, Any], folder: Path) -> None:
    if title == "The highest scores":
        assert [row[1] for row in rows(found["top"])] == ["the owl", "the fox", "a pond", "a hill"]  # half of the fox
    elif title.startswith("The share"):
        assert [row[0] for row in rows(found["share"])] == ["web", "own"]
        assert [row[1:] for row in rows(found["share"])] == [(3, pytest.approx(2 / 3)), (1, 0.0)]
    elif title.startswith("Joined"):
        assert [row[:2] for row in rows(found["joined"])][:2] == [("none", "the owl"), ("cc", "the fox")]
    elif title.startswith("Errors"):
        assert rows(found["errors"]) == [("prompt is null", 1)]
    elif title.startswith("A mask"):
        assert found["decoded"].shape == (16, 16)
        assert found["decoded"].mean() in (1.0, 0.5)
    elif title == "A map":
        assert np.array_equal(found["values"], level(0.9, part=True)["dh_uncond"].astype(np.float16))
    elif title == "Exported":
        assert (folder / "results.jsonl").read_text().count('"the fox"') == 1
    else:
        assert title == "Several runs in one table"
        assert len(rows(found["runs"])) in (2, 10)


@pytest.mark.parametrize(("title", "library", "code"), OTHERS, ids=[f"{one[1]}-{one[0]}" for one in OTHERS])
def test_recipe_does_what_it_says(title: str, library: str, code: str, folder: Path) -> None:
    check(title, run(code), folder)


@pytest.mark.spark
@pytest.mark.parametrize(("title", "library", "code"), SPARK, ids=[one[0] for one in SPARK])
def test_recipe_of_spark_does_what_it_says(title: str, library: str, code: str, folder: Path) -> None:
    from pyspark.sql import SparkSession

    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1", "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    builder.getOrCreate()
    check(title, run(code), folder)


def test_every_question_of_the_page_is_answered_in_some_library() -> None:
    assert [title for title, _ in SECTIONS] == list(dict.fromkeys(title for title, _, _ in BLOCKS))
    assert {library for _, library, _ in BLOCKS} == {"duckdb", "polars", "pandas", "spark", "memscan"}
