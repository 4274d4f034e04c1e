"""One prompt a line, from a file or standard input; a table among such files is found out."""

import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.input.reading import Reading


def prompts(manifest: Manifest) -> list[object]:
    return [row.prompt for row in manifest.rows()]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
    return stream


def test_each_line_is_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(b"\xef\xbb\xbfa mug, blue; with 3 owls\r\n\n  two  \n\xff\nlast")
    manifest = open_manifest(str(path))
    assert prompts(manifest) == ["a mug, blue; with 3 owls", "  two  ", None, "last"]
    assert [row.problem for row in manifest.rows()] == [None, None, "line 4 is not UTF-8", None]
    assert manifest.num_rows == 4


def test_a_line_without_end_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memscan.scanner.input.text_lines.MAX_LINE", 1000)
    for name, good in (("m.txt", "good"), ("m.jsonl", '{"prompt": "good"}')):
        (tmp_path / name).write_text(f"{good}\n{'x' * 5000}\n{good}\n")
        rows = list(open_manifest(str(tmp_path / name)).rows())
        assert [row.prompt for row in rows] == ["good", None, "good"]
        assert rows[1].problem == "line 2 has more than 1000 characters"


@pytest.mark.parametrize(
    ("content", "seeds"),
    [("prompt;seed\na mug;7\n", [7]), ("Prompt\tSeed\na mug\t7\n", [7]), ('"prompt"\n"a mug"\n', [None])],
)
def test_a_text_file_with_a_header_is_csv(content: str, seeds: list[int | None], tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text(content)
    assert [(row.prompt, row.seed) for row in open_manifest(str(path)).rows()] == [("a mug", seed) for seed in seeds]


@pytest.mark.parametrize("content", ["the night owl;11;REF-001\na mug;12;REF-002\n", "the night owl\t11\n"])
def test_a_text_file_that_looks_like_a_table_is_refused_unless_it_is_said_to_be_text(
    content: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.txt"
    path.write_text(content)
    with pytest.raises(
        ManifestError, match=r"looks like a table, with a (tab|semicolon) in every line: say --format csv"
    ):
        open_manifest(str(path))
    assert prompts(open_manifest(str(path), Columns(), Reading(format="text"))) == content.splitlines()


def test_prompts_with_semicolons_here_and_there_are_prompts(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("a mug; blue\na cup\n")
    assert prompts(open_manifest(str(path))) == ["a mug; blue", "a cup"]


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a mug"], "seed": [7]}), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reading", "expected"),
    [
        (b"a mug\na cup\n", Reading(), [("a mug", None), ("a cup", None)]),
        (b'\n {"prompt": "a mug", "seed": 7}\n', Reading(), [("a mug", 7)]),
        (b"prompt,seed\na mug,7\n", Reading(), [("a mug", 7)]),
        ("prompt\tseed\na mug\t7\n".encode("utf-16"), Reading(), [("a mug", 7)]),
        (b"{curly}\n", Reading(format="text"), [("{curly}", None)]),
        (parquet(), Reading(), [("a mug", 7)]),
    ],
)
def test_standard_input_is_read_by_its_first_bytes_and_as_often_as_needed(
    content: bytes, reading: Reading, expected: list[tuple[str, int | None]], stdin: io.BytesIO
) -> None:
    stdin.write(content)
    stdin.seek(0)
    manifest = open_manifest("-", Columns(), reading)
    first = manifest.rows()
    next(first)
    for _ in range(2):  # also while another reader is in the middle
        assert [(row.prompt, row.seed) for row in manifest.rows()] == expected
    assert manifest.census().rows == len(expected)
    assert len(list(first)) == len(expected) - 1


def test_standard_input_has_a_name_of_its_content(stdin: io.BytesIO) -> None:
    names = set()
    for content in (b"a mug", b"a cup", b"a mug"):
        stdin.seek(0)
        stdin.truncate()
        stdin.write(content)
        stdin.seek(0)
        names.add(open_manifest("-").name)
    assert len(names) == 2


def test_standard_input_may_be_empty_and_closed_is_said(stdin: io.BytesIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_manifest("-").num_rows == 0
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ManifestError, match=r"^standard input is closed: give the manifest as a file$"):
        open_manifest("-")
