"""Where the prompts of a certificate come from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.export.certificate.prompts import PROMPTS
from memscan.scanner.errors import UsageError
from memscan.scanner.input.prompts import read_prompts


def test_text_file_has_one_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red house\n\n赤い家\n", encoding="utf-8")
    assert read_prompts(str(file)) == ("a red house", "赤い家")


def test_row_with_several_seeds_is_one_prompt(tmp_path: Path) -> None:
    file = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"prompt": ["one", "two"], "seed": [[1, 2, 3], [4]]}), file)
    assert read_prompts(str(file)) == ("one", "two")


def test_row_that_cannot_be_scanned_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"prompt": ["one", None]}), file)
    with pytest.raises(UsageError, match=r"manifest\.parquet, row 1: .*prompt"):
        read_prompts(str(file))


def test_built_in_prompts_are_distinct() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) == 4
