"""CSV as programs and spreadsheets write it: sniffed where that is sure, refused where not, never misread."""

import codecs
from pathlib import Path

import pytest

from memscan.scanner.errors import ManifestError, UsageError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import parse_row
from memscan.scanner.samples import Rejected

ROWS = [("the night owl", 11, "REF-001"), ("caf\u00e9, again; \u201cquoted\u201d", 12, "REF-002")]


def table(delimiter: str, end: str = "\r\n") -> str:
    rows = [("prompt", "seed", "id"), *ROWS]
    return "".join(delimiter.join(f'"{field}"' for field in row) + end for row in rows)


def opened(
    path: Path, content: str | bytes, reading: Reading | None = None, columns: Columns | None = None
) -> Manifest:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_manifest(str(path), columns or Columns(), reading or Reading())


def values(manifest: Manifest) -> list[tuple[object, object, object]]:
    return [(row.prompt, row.seed, row.id) for row in manifest.rows()]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_the_delimiter_is_that_of_the_header(delimiter: str, end: str, tmp_path: Path) -> None:
    assert values(opened(tmp_path / "m.csv", table(delimiter, end))) == ROWS


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.txt"])  # Excel's "Unicode text" is UTF-16 and tabs in a .txt
def test_a_byte_order_mark_says_the_encoding(mark: bytes, encoding: str, name: str, tmp_path: Path) -> None:
    assert values(opened(tmp_path / name, mark + table("\t").encode(encoding))) == ROWS


@pytest.mark.parametrize(
    ("encoding", "reading"),
    [("cp1252", Reading(encoding="cp1252")), ("utf-16-le", Reading(encoding="utf-16-le", delimiter="semicolon"))],
)
def test_encoding_and_delimiter_can_be_said(encoding: str, reading: Reading, tmp_path: Path) -> None:
    assert values(opened(tmp_path / "m.csv", table(";").encode(encoding), reading)) == ROWS


def test_latin_1_that_was_not_said_is_an_error_row_each_and_a_remark(tmp_path: Path) -> None:
    manifest = opened(tmp_path / "m.csv", table(",").replace("\u201c", "").replace("\u201d", "").encode("latin-1"))
    items = [parse_row(i, raw).items[0] for i, raw in enumerate(manifest.rows())]
    assert [isinstance(item, Rejected) and item.error for item in items] == [False, "line 3 is not UTF-8"]
    assert manifest.remarks == (
        f"{tmp_path}/m.csv: 1 row is not UTF-8, an error row each: if the file is Latin-1, say --encoding cp1252",
    )


def test_a_byte_that_the_said_encoding_lacks_is_an_error_row(tmp_path: Path) -> None:
    manifest = opened(tmp_path / "m.csv", b"prompt,seed\na \x81 mug,1\nb,2\n", Reading(encoding="cp1252"))
    assert [row.problem for row in manifest.rows()] == ["line 2 is not cp1252", None]


def test_utf_16_without_a_mark_and_utf_16_that_breaks_off_are_said(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"holds zero bytes, as UTF-16 does: say --encoding utf-16-le or utf-16-be$"
    ):
        opened(tmp_path / "m.csv", table(",").encode("utf-16-le"))
    with pytest.raises(ManifestError, match=r"is not utf-16 \(.*\): say --encoding$"):
        opened(tmp_path / "m.csv", table(",").encode("utf-16")[:-1])


def test_a_column_called_like_a_whole_header_is_not_scanned(tmp_path: Path) -> None:
    content = "Prompt;Seed\nthe night owl;11\n"
    with pytest.raises(ManifestError, match=r"has no column 'Prompt;Seed'; its columns are: Prompt, Seed; say which"):
        opened(tmp_path / "m.csv", content, columns=Columns(prompt="Prompt;Seed"))


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_delimiter_that_is_wrong_finds_no_prompt_column(delimiter: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no column 'prompt'; its columns are: prompt;seed; say"):
        opened(tmp_path / "m.csv", "prompt;seed\nthe night owl;11\n", Reading(delimiter=delimiter))


def test_a_tsv_with_commas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="its columns are: prompt,seed; say"):
        opened(tmp_path / "m.tsv", "prompt,seed\na mug,1\n")


def test_the_header_of_one_column_has_no_delimiter(tmp_path: Path) -> None:
    assert values(opened(tmp_path / "m.csv", "prompt\na mug; blue | green\n")) == [("a mug; blue | green", None, None)]


def test_of_two_possible_delimiters_that_with_a_prompt_column_is_taken(tmp_path: Path) -> None:
    assert values(opened(tmp_path / "m.csv", "prompt,seed;old\na mug,5\n")) == [("a mug", None, None)]
    with pytest.raises(ManifestError, match=r"a header that ',' or ';' may separate: say --delimiter$"):
        opened(tmp_path / "m.csv", "text,a;b\na mug,5\n")


def test_the_line_that_tells_excel_its_delimiter_is_no_header(tmp_path: Path) -> None:
    manifest = opened(tmp_path / "m.csv", "sep=;\nprompt;seed\na, mug;5\nshort\n")
    assert [(row.prompt, row.seed, row.problem) for row in manifest.rows()] == [
        ("a, mug", 5, None),
        (None, None, "line 4 has 1 fields where the header has 2"),
    ]


def test_blanks_after_the_delimiter_are_none_of_the_values(tmp_path: Path) -> None:
    assert values(opened(tmp_path / "m.csv", 'prompt, seed, id\n"a, mug", 7, "x, y"\n')) == [("a, mug", 7, "x, y")]


def test_a_line_without_end_is_refused_and_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memscan.scanner.input.text_lines.MAX_LINE", 1000)
    with pytest.raises(
        ManifestError, match=r"line 2 has more than 1000 characters, perhaps for want of a closing quote"
    ):
        opened(tmp_path / "m.csv", "prompt\n" + "x" * 5000)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("m.xlsx", b"PK\x03\x04", r"m\.xlsx is a spreadsheet: save it as CSV UTF-8$"),
        ("m.XLS", b"\xd0\xcf\x11\xe0", r"m\.XLS is a spreadsheet: save it as CSV UTF-8$"),
        ("m.csv", b"PK\x03\x04[Content", r"is a spreadsheet or another archive: save it as CSV UTF-8$"),
        ("m.csv", b"PAR1\x15\x04", r"is Parquet: give it a name that ends in \.parquet, or say --format parquet$"),
        ("m.jsonl", b"\x1f\x8b\x08", r"is compressed: unpack it$"),
        ("m.txt", b"%PDF-1.7", r"is a PDF, no text$"),
    ],
)
def test_what_is_no_text_is_refused_by_what_it_is(name: str, content: bytes, text: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=text):
        opened(tmp_path / name, content)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delimiter": ";;"}, "--delimiter ';;': expected one character, such as ';', or tab"),
        ({"delimiter": '"'}, "expected one character"),
        ({"encoding": "klingon"}, "--encoding 'klingon' is not known: try utf-8, utf-16, cp1252 or latin-1"),
        ({"encoding": "base64"}, "--encoding 'base64' is not known"),
        ({"image_root": Path("gone")}, "--image-root gone is no folder"),
    ],
)
def test_options_that_make_no_sense_are_said(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Reading(**options)
