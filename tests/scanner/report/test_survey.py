"""Surveys of many rows: right whatever the batches, and without holding the rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.report.errors_by_kind import ErrorsByKind
from memscan.scanner.report.histogram import ALL, BINS, FLAGGED, axis, histogram
from memscan.scanner.report.ranking import Ranking
from memscan.scanner.report.survey import survey
from memscan.scanner.results import reader
from memscan.scanner.results.reader import Results, open_results
from memscan.scanner.samples import MeasuredStep
from tests.scanner.report.pages import level, plain_results
from tests.scanner.results.fabricated import scanned, write_results

MANY = 60_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of so many images in two parts: one image's row again and again, with scores of a fixed generator."""
    folder = plain_results(tmp_path_factory.mktemp("many") / "out", {"p": 0.9}, save_maps=False)
    file = folder / "results" / "part-00000.parquet"
    one = pq.read_table(file)
    scores = np.random.RandomState(0).permutation(MANY).astype(np.float32) / MANY + 0.5 / MANY
    table = one.take(np.zeros(MANY, np.int64))
    for name, values in {"row": np.arange(MANY), "score": scores, "mask_share": scores.clip(0.75) - 0.75}.items():
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    for number, part in enumerate((table.slice(0, 50_000), table.slice(50_000))):
        pq.write_table(part, folder / "results" / f"part-{number:05d}.parquet", write_page_checksum=True)
    return folder


def test_counts_and_ranking_of_many_rows(many: Path) -> None:
    found = survey(open_results(many), None, 3, 0.01)
    table = open_results(many).rows(["row", "seed", "step_index", "score"])
    best = np.argsort(-table["score"].to_numpy())[:3]
    assert found.top == [(int(row), 0) for row in best]
    assert (found.scanned, found.flagged, found.lowest) == (MANY, MANY // 4, np.float32(0.5 / MANY))


def test_histogram_counts_every_image_once(many: Path) -> None:
    results = open_results(many)
    found = survey(results, None, 1, 0.01)
    counts = histogram(results, found, None, axis(results.score_name, found))
    assert counts[ALL].tolist() == [MANY // BINS] * BINS
    assert counts[FLAGGED].sum() == MANY // 4
    assert not counts[FLAGGED][: BINS * 3 // 4].any()


def test_rows_come_a_few_thousand_at_a_time(many: Path) -> None:
    """Memory is bounded by the batch, whatever the part."""
    lengths = [len(table) for table in open_results(many).batches(["status", "score"])]
    assert sum(lengths) == MANY
    assert max(lengths) <= reader._ROWS_AT_ONCE


def test_ranking_does_not_depend_on_the_batches() -> None:
    rows = pa.table({"score": [0.5, 0.9, 0.5, 0.1], "row": [3, 1, 2, 0], "seed": [0, 0, 0, 0]})
    for size in (1, 2, 4):
        ranking = Ranking(3)
        for start in range(0, 4, size):
            ranking.add(rows.slice(start, size))
        assert ranking.keys() == [(1, 0), (2, 0), (3, 0)]


def test_last_step_is_surveyed_unless_another_is_asked_for(tmp_path: Path) -> None:
    steps = [MeasuredStep(30, 400, 0.7, 0.5, True), MeasuredStep(49, 1, 0.25, 0.5, True)]
    folder = write_results(tmp_path / "out", [scanned(0, "p", level(0.2), level(0.8))], steps=steps)
    opened: Results = open_results(folder)
    assert [survey(opened, step, 1, 0.01).flagged for step in (None, 30)] == [1, 0]
    assert dict(survey(opened, None, 1, 0.01).steps) == {30: 400, 49: 1}


def test_kinds_of_errors_are_bounded() -> None:
    errors = ErrorsByKind()
    errors.add((f"reason {'x' * (place + 1)}", place) for place in range(190))
    errors.add((f"other {chr(97 + place // 26)}{chr(97 + place % 26)}", place) for place in range(50))
    kinds = errors.ranked()
    assert len(kinds) == 201
    assert (kinds[0].example, kinds[0].count) == ("other errors", 40)
